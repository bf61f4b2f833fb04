-- Sets of schedules that files own.

-- The revision that the files of its set wrote last: what differs from it was changed by hand since. NULL: no files own it.
ALTER TABLE schedules ADD COLUMN set_revision {{int}};
