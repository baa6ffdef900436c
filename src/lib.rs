//! POD.
