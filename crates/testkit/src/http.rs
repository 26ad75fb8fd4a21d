//! A static HTTP server for tests, with faults.
