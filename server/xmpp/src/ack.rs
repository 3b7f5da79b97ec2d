//! XEP-0198 counters and the unacked queue, for both directions.
