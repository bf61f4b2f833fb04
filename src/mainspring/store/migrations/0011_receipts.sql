-- What attempts of targets left: answers of servers, output of programs.

-- `attempt` is the token of the attempt that wrote it, under its fence and with its finish; `body` the receipt, sealed where the app
-- seals. Gone with its run, or after the time for which its policy keeps receipts.
CREATE TABLE receipts (
    run_id      {{uuid}} NOT NULL,
    attempt     {{int}} NOT NULL,
    place       {{int}} NOT NULL,
    kind        TEXT NOT NULL,
    size        {{int}} NOT NULL,
    kept        {{int}} NOT NULL,
    digest      TEXT NOT NULL,
    at          {{int}} NOT NULL,
    body        {{bytes}} NOT NULL,
    PRIMARY KEY (run_id, attempt, place)
) {{clustered}};
