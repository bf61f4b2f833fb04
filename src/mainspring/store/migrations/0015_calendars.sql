-- Calendars: named sets of days with hours, which the rules of schedules use.

-- What a person wrote (`spec`), and the days and hours it comes to (`expanded`). `expand_at`: when time adds to it; NULL: it does not.
CREATE TABLE calendars (
    namespace       TEXT NOT NULL,
    name            TEXT NOT NULL,
    version         {{int}} NOT NULL,
    spec            TEXT NOT NULL,
    expanded        TEXT NOT NULL,
    expand_at       {{int}},
    created_at      {{int}} NOT NULL,
    updated_at      {{int}} NOT NULL,
    updated_by      TEXT NOT NULL,
    PRIMARY KEY (namespace, name)
) {{clustered}};

CREATE INDEX calendars_to_expand ON calendars (expand_at) WHERE expand_at IS NOT NULL;

-- Which schedules name which calendars in the revision in force.
CREATE TABLE schedule_calendars (
    schedule_id     {{uuid}} NOT NULL,
    calendar        TEXT NOT NULL,
    PRIMARY KEY (schedule_id, calendar)
) {{clustered}};

CREATE INDEX schedule_calendars_by_name ON schedule_calendars (calendar, schedule_id);

-- The calendars that a schedule's rule names, as they are: copied when either is put, so that whoever plans reads one row.
ALTER TABLE schedules ADD COLUMN calendars TEXT;
