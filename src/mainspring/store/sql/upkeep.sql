-- name: upkeep.wanted
-- Which stages of upkeep may have something to do, where that takes no instant to tell: slots are reserved for deliveries, a limit is
-- kept for the head of a lane, a queue has deliveries.
-- columns: reserved int, kept int, delivers int
SELECT EXISTS (SELECT 1 FROM reservations) AS reserved,
       EXISTS (SELECT 1 FROM limits WHERE reserved_lane IS NOT NULL) AS kept,
       EXISTS (SELECT 1 FROM queues WHERE delivery IS NOT NULL) AS delivers;
