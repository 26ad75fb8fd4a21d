//! Reference scores with intervals.
