//! POD.
fn main() {}
