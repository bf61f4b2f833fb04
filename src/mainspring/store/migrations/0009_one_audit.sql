-- What operators do to queues, limits and keys stands in the audit log, with everything else that people do.

DROP TABLE changes;
