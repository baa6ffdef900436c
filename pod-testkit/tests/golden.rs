//! What the backend in memory says it can do is what is committed.

use pod_core::mem::MemBackend;
use pod_testkit::golden;
use std::path::Path;

#[test]
fn the_backend_in_memory() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mem.capabilities.json");
    golden::check(&MemBackend::new(), &path).expect("the capabilities are as committed");
}
