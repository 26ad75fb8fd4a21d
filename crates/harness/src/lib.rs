//! Tasks, annotations, execution, scoring and recording.
