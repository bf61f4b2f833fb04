-- After a restore: unfinished runs that were created up to `park_before` are parked, for nobody knows whether they ran. NULL: all are.
ALTER TABLE planner_mark ADD COLUMN park_before {{int}};
