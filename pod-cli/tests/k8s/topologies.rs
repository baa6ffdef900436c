//! One topology on this machine and on a cluster.

use crate::World;
use crate::driver::Driver;
use crate::world::image;
use std::path::Path;

/// The words after a row's name.
fn row(matrix: &str, name: &str) -> Vec<String> {
    let line = matrix.lines().find(|l| l.split_whitespace().next() == Some(name)).unwrap_or_else(|| panic!("{matrix}"));
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

#[test]
fn workloads_here_and_there_come_up_together() {
    let w = World::new("both");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/k8s/local-and-k8s.yaml");
    // The same file, in the test's namespace and with the image that the lab has.
    let text = std::fs::read_to_string(example).unwrap();
    let text = text.replace("\"k8s:\"", &format!("{:?}", w.uri())).replace("busybox:1.36", &image());
    assert!(text.contains(&w.namespace), "{text}");
    let file = w.file("both.yaml", &text);
    let plan = w.run(["plan", &file]).ok().out;
    assert!(plan.contains("here-1") && plan.contains("there-2"), "{plan}");
    let up = w.run(["up", &file]).ok();
    assert_eq!(row(&up.out, "here-1"), ["-", "yes", "no", "no"], "{}", up.out);
    assert_eq!(row(&up.out, "there-2"), ["no", "no", "yes", "-"], "{}", up.out);
    assert!(up.out.contains("all as expected"), "{}", up.out);
    let again = w.run(["up", &file]).ok();
    assert!(again.err.contains("nothing to change"), "{}", again.err);
    let here = w.run(["-b", "local:", "ps", "-o", "name"]).ok().out;
    assert_eq!(
        (here.as_str(), w.run(["ps", "-o", "name"]).ok().out.as_str()),
        ("here-1\nhere-2\n", "there-1\nthere-2\n")
    );
    // A file goes from one platform to the other.
    w.run(["exec", "local:here-1", "--", "sh", "-c", "echo from here >/tmp/note"]).ok();
    w.run(["cp", "local:here-1:/tmp/note", "there-1:/tmp/note"]).ok();
    assert_eq!(w.run(["exec", "there-1", "--", "cat", "/tmp/note"]).ok().out, "from here\n");
    w.run(["down", &file]).ok();
    for backend in ["local:", &w.uri()] {
        assert_eq!(w.run(["-b", backend, "ps", "-a", "-o", "name"]).ok().out, "");
        assert_eq!(w.run(["-b", backend, "net", "ls", "-o", "name"]).ok().out, "");
    }
}
