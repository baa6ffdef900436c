//! Images from folders and archives.

use crate::Bench;
use crate::bench_root::{name, spec, walk};
use pod_core::{Backend, CreateRequest, ErrorKind, Image};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

enum Part<'a> {
    File(&'a str, &'a [u8], u32),
    Dir(&'a str),
    Link(&'a str, &'a str),
}

fn layer(parts: &[Part<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for part in parts {
        let mut header = tar::Header::new_ustar();
        match part {
            Part::File(path, data, mode) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(data.len() as u64);
                put_name(&mut header, path);
                header.set_cksum();
                tar.append(&header, *data).unwrap();
            }
            Part::Dir(path) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                put_name(&mut header, path);
                header.set_cksum();
                tar.append(&header, std::io::empty()).unwrap();
            }
            Part::Link(path, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                put_name(&mut header, path);
                header.set_link_name_literal(target).unwrap();
                header.set_cksum();
                tar.append(&header, std::io::empty()).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

/// As it is, also names that a careful writer would refuse.
fn put_name(header: &mut tar::Header, name: &str) {
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
}

fn busybox() -> Vec<u8> {
    std::fs::read("/bin/busybox").expect("the package busybox-static is installed: `cargo xtask test --install`")
}

fn base() -> Vec<u8> {
    let busybox = busybox();
    layer(&[
        Part::Dir("bin/"),
        Part::File("bin/busybox", &busybox, 0o755),
        Part::Link("bin/sh", "busybox"),
        Part::Link("bin/cat", "busybox"),
        Part::Link("bin/ls", "busybox"),
        Part::Link("bin/sleep", "busybox"),
        Part::Link("bin/pwd", "busybox"),
        Part::Dir("data/"),
        Part::File("data/old", b"old", 0o644),
        Part::File("data/kept", b"kept", 0o644),
        Part::Dir("gone/"),
        Part::File("gone/below", b"x", 0o644),
    ])
}

fn above() -> Vec<u8> {
    layer(&[
        Part::Dir("data/"),
        Part::File("data/.wh.old", b"", 0o644),
        Part::File("data/new", b"new", 0o644),
        Part::Dir("gone/"),
        Part::File("gone/.wh..wh..opq", b"", 0o644),
    ])
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|l| format!("sha256:{}", hex(l))).collect();
    serde_json::to_vec(&serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Env": ["PATH=/bin", "COLOR=blue"], "Cmd": ["sleep", "600"], "WorkingDir": "/data", "User": "7:8" },
        "rootfs": { "type": "layers", "diff_ids": diff_ids }
    }))
    .unwrap()
}

fn archive(files: &[(String, Vec<u8>)]) -> tempfile::NamedTempFile {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, name, data.as_slice()).unwrap();
    }
    let file = tempfile::Builder::new().suffix(".tar").tempfile().unwrap();
    std::fs::write(file.path(), tar.into_inner().unwrap()).unwrap();
    file
}

fn docker(layers: &[&[u8]]) -> tempfile::NamedTempFile {
    let config = config(layers);
    let names: Vec<String> = (0..layers.len()).map(|i| format!("{i}/layer.tar")).collect();
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": ["t:1"], "Layers": names }]);
    let mut files =
        vec![("manifest.json".to_owned(), serde_json::to_vec(&manifest).unwrap()), ("config.json".to_owned(), config)];
    files.extend(names.into_iter().zip(layers.iter().map(|l| l.to_vec())));
    archive(&files)
}

fn oci(layers: &[&[u8]], compress: bool) -> tempfile::NamedTempFile {
    use std::io::Write;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut blob = |data: Vec<u8>, kind: &str| {
        let digest = hex(&data);
        let descriptor =
            serde_json::json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": data.len() });
        files.push((format!("blobs/sha256/{digest}"), data));
        descriptor
    };
    let mut descriptors = Vec::new();
    for layer in layers {
        let data = if compress {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(layer).unwrap();
            gz.finish().unwrap()
        } else {
            layer.to_vec()
        };
        descriptors.push(blob(data, "application/vnd.oci.image.layer.v1.tar"));
    }
    let config = blob(config(layers), "application/vnd.oci.image.config.v1+json");
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": descriptors });
    let manifest = blob(serde_json::to_vec(&manifest).unwrap(), "application/vnd.oci.image.manifest.v1+json");
    files.push((
        "index.json".into(),
        serde_json::to_vec(&serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] })).unwrap(),
    ));
    files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    archive(&files)
}

fn image(file: &Path) -> Image {
    Image::Archive(file.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn archives_of_both_kinds_run_with_their_layers_and_configuration() {
    let (base, above) = (base(), above());
    let layers: [&[u8]; 2] = [&base, &above];
    for file in [docker(&layers), oci(&layers, false), oci(&layers, true)] {
        let bench = Bench::new().await;
        bench.run(spec("a", &[]).with_image(image(file.path()))).await;
        bench.run(spec("b", &[]).with_image(image(file.path()))).await;
        let out = bench.sh("a", "pwd; echo $COLOR; ls /data /gone; cat /data/kept").await;
        assert_eq!(out.stdout_text(), "/data\nblue\n/data:\nkept\nnew\n\n/gone:\nkept", "{}", out.stderr_text());
        let out = bench.sh("a", "cat /proc/self/status").await.stdout_text();
        assert!(out.contains("Uid:\t7\t7\t7\t7") && out.contains("Gid:\t8\t8\t8\t8"), "{out}");
        // Two workloads share the layers, and the last takes them along.
        let unpacked = std::fs::read_dir(bench.root.path().join("lib/layers")).unwrap().count();
        assert_eq!(unpacked, 2);
        bench.remove("a").await;
        assert_eq!(bench.sh("b", "echo still").await.stdout_text(), "still\n");
        bench.remove("b").await;
        bench.assert_nothing_left();
    }
}

#[tokio::test]
async fn damaged_and_hostile_archives_are_refused_and_leave_nothing() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("x");
    let base = base();
    let up = layer(&[Part::File("../../../../../../../../tmp/pod-escape", b"x", 0o644)]);
    let absolute = layer(&[Part::Link("out", outside.path().to_str().unwrap()), Part::File("out/x", b"x", 0o644)]);
    let cases: Vec<(&str, tempfile::NamedTempFile, ErrorKind)> = vec![
        ("..", docker(&[&base, &up]), ErrorKind::InvalidInput),
        ("through a link", docker(&[&base, &absolute]), ErrorKind::InvalidInput),
        (
            "cut",
            {
                let whole = docker(&[&base]);
                let bytes = std::fs::read(whole.path()).unwrap();
                let file = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(file.path(), &bytes[..bytes.len() / 2]).unwrap();
                file
            },
            ErrorKind::Integrity,
        ),
        ("no layers", docker(&[]), ErrorKind::InvalidInput),
        (
            "changed",
            {
                let whole = oci(&[&base], false);
                let mut bytes = std::fs::read(whole.path()).unwrap();
                let at = bytes.windows(4).position(|w| w == b"kept").unwrap();
                bytes[at] = b'K';
                let file = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(file.path(), bytes).unwrap();
                file
            },
            ErrorKind::Integrity,
        ),
    ];
    for (what, file, kind) in cases {
        let bench = Bench::new().await;
        let request = CreateRequest::new(spec("w", &["true"]).with_image(image(file.path())));
        let e = bench.backend.create(request).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{what}: {e}");
        assert!(e.to_string().contains("archive:"), "{what}: {e}");
        let left: Vec<PathBuf> = walk(bench.root.path()).into_iter().filter(|p| p.is_file()).collect();
        assert!(left.is_empty(), "{what}: {left:?}");
        assert!(!target.exists() && !Path::new("/tmp/pod-escape").exists(), "{what} escaped");
    }
}

#[tokio::test]
async fn a_folder_is_not_written_to_and_can_be_shared() {
    let bench = Bench::new().await;
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.path().join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.path().join("bin/sh")).unwrap();
    let rootfs = Image::Rootfs(root.path().to_str().unwrap().into());
    for w in ["a", "b"] {
        let command = ["/bin/busybox", "sleep", "600"];
        bench.run(spec(w, &command).with_image(rootfs.clone())).await;
        bench.sh(w, "echo mine >/bin/own; echo mine >/new").await;
    }
    let out = bench.connect("a").await.exec(pod_core::ExecRequest::new(["/bin/busybox", "cat", "/new"])).await.unwrap();
    assert_eq!(out.output(100).await.unwrap().stdout_text(), "mine\n");
    let mut left: Vec<_> = walk(root.path()).iter().map(|p| p.strip_prefix(root.path()).unwrap().to_owned()).collect();
    left.sort();
    assert_eq!(left, [Path::new("bin"), Path::new("bin/busybox"), Path::new("bin/sh")]);
    bench.remove("a").await;
    bench.remove("b").await;
    assert!(bench.backend.inspect(&name("a")).await.is_err());
    bench.assert_nothing_left();
}
