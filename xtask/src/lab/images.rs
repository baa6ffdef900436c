//! Images made of what this machine has: nothing is pulled.

use super::programs::key;
use super::site::make;
use crate::install;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layout of the image; another number makes a new one.
const VERSION: &str = "2";

/// What the image runs when nothing else is asked for: it waits, and ends when told to.
const COMMAND: &[&str] = &["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait; done"];

/// An image without a shell, for tests of what can do without one: it holds a program that sleeps, and runs as
/// a user that only the image names.
const BARE: &str = "pod.test/bare:1";
const BARE_USER: &str = "65532";
const BARE_COMMAND: &[&str] = &["/sleep", "2147483647"];

/// A docker-archive of Debian's static busybox, made once; beside it an image without a shell.
pub(super) fn busybox(cache: &Path, name: &str) -> Result<PathBuf, String> {
    let program = install::find("busybox").ok_or("no busybox: install busybox-static, or give --install")?;
    let binary = fs::read(&program).map_err(|e| format!("{}: {e}", program.display()))?;
    let key = key(&[VERSION.as_bytes(), name.as_bytes(), &binary]);
    let archive = cache.join("images").join(format!("busybox-{key}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    let listed = Command::new(&program).arg("--list").output().map_err(|e| format!("busybox --list: {e}"))?;
    let applets = String::from_utf8_lossy(&listed.stdout).into_owned();
    let images = [
        Layered { name, layer: layer(&binary, &applets)?, command: COMMAND, user: "" },
        Layered { name: BARE, layer: bare(&binary)?, command: BARE_COMMAND, user: BARE_USER },
    ];
    let bytes = docker_archive(&images)?;
    make(archive.parent().unwrap_or(cache))?;
    // Under another name until it is whole.
    let begun = archive.with_extension(format!("tar.{}", std::process::id()));
    fs::write(&begun, bytes)
        .and_then(|()| fs::rename(&begun, &archive))
        .map_err(|e| format!("{}: {e}", archive.display()))?;
    Ok(archive)
}

/// The image's one layer.
fn layer(busybox: &[u8], applets: &str) -> Result<Vec<u8>, String> {
    let mut tar = tar::Builder::new(Vec::new());
    let wrong = |e: std::io::Error| format!("write the layer: {e}");
    for folder in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var"] {
        let mode = if folder == "tmp" { 0o1777 } else { 0o755 };
        append(&mut tar, tar::EntryType::Directory, folder, mode, &[]).map_err(wrong)?;
    }
    append(&mut tar, tar::EntryType::Regular, "bin/busybox", 0o755, busybox).map_err(wrong)?;
    for applet in applets.lines().filter(|a| *a != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").map_err(wrong)?;
    }
    let files = [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("etc/os-release", "ID=busybox\nNAME=BusyBox\nPRETTY_NAME=BusyBox\n"),
    ];
    for (path, text) in files {
        append(&mut tar, tar::EntryType::Regular, path, 0o644, text.as_bytes()).map_err(wrong)?;
    }
    tar.into_inner().map_err(wrong)
}

/// The layer of the image without a shell: BusyBox knows what it is by its name alone.
fn bare(busybox: &[u8]) -> Result<Vec<u8>, String> {
    let mut tar = tar::Builder::new(Vec::new());
    let wrong = |e: std::io::Error| format!("write the layer: {e}");
    for (folder, mode) in [("data", 0o777), ("dev", 0o755), ("etc", 0o755), ("proc", 0o755), ("sys", 0o755)] {
        append(&mut tar, tar::EntryType::Directory, folder, mode, &[]).map_err(wrong)?;
    }
    append(&mut tar, tar::EntryType::Regular, "sleep", 0o755, busybox).map_err(wrong)?;
    append(&mut tar, tar::EntryType::Regular, "etc/app.conf", 0o644, b"bare\n").map_err(wrong)?;
    // Absolute: it leads elsewhere for whoever has another root.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_mode(0o777);
    header.set_size(0);
    tar.append_link(&mut header, "shortcut", "/data").map_err(wrong)?;
    tar.into_inner().map_err(wrong)
}

/// An image of one layer.
struct Layered<'a> {
    name: &'a str,
    layer: Vec<u8>,
    command: &'a [&'a str],
    user: &'a str,
}

/// The layers, their configurations and what `docker load` reads first.
fn docker_archive(images: &[Layered<'_>]) -> Result<Vec<u8>, String> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        append(&mut tar, tar::EntryType::Regular, path, 0o644, bytes).map_err(|e| format!("write the image: {e}"))
    };
    let mut manifest = Vec::new();
    for Layered { name, layer, command, user } in images {
        let id = digest(layer);
        let configuration = serde_json::json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Env": ["PATH=/bin:/usr/bin"], "Cmd": command, "User": user },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{id}")] },
        })
        .to_string();
        let (file, layer_file) = (format!("{}.json", digest(configuration.as_bytes())), format!("{id}.tar"));
        add(&file, configuration.as_bytes())?;
        add(&layer_file, layer)?;
        manifest.push(serde_json::json!({ "Config": file, "RepoTags": [name], "Layers": [layer_file] }));
    }
    add("manifest.json", serde_json::Value::from(manifest).to_string().as_bytes())?;
    tar.into_inner().map_err(|e| format!("write the image: {e}"))
}

fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
}

/// The SHA-256 of bytes, in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn an_archive_names_its_image_and_holds_the_applets() {
        let layer = layer(b"program", "busybox\nsh\nls\n").expect("a layer");
        let image = |name, layer: &[u8], user| Layered { name, layer: layer.to_vec(), command: COMMAND, user };
        let other = bare(b"program").expect("a layer");
        let images = [image("pod.test/a:1", &layer, ""), image("pod.test/b:1", &other, "7")];
        let bytes = docker_archive(&images).expect("an archive");
        let mut found = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(&bytes[..]).entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("content");
            found.insert(entry.path().expect("a path").display().to_string(), content);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&found["manifest.json"]).expect("a manifest");
        assert_eq!(manifest[0]["RepoTags"][0], "pod.test/a:1");
        let configuration = manifest[0]["Config"].as_str().expect("a name");
        assert_eq!(configuration, format!("{}.json", digest(&found[configuration])));
        let configuration: serde_json::Value = serde_json::from_slice(&found[configuration]).expect("a configuration");
        assert_eq!(configuration["rootfs"]["diff_ids"][0], format!("sha256:{}", digest(&layer)));
        assert_eq!(found[&format!("{}.tar", digest(&layer))], layer);
        assert_eq!((&manifest[1]["RepoTags"][0], manifest.as_array().map(Vec::len)), (&"pod.test/b:1".into(), Some(2)));
        let names: Vec<_> = tar::Archive::new(&layer[..])
            .entries()
            .expect("entries")
            .map(|e| e.expect("an entry").path().expect("a path").display().to_string())
            .collect();
        assert!(names.contains(&"bin/sh".to_owned()) && names.contains(&"bin/ls".to_owned()), "{names:?}");
        assert_eq!(names.iter().filter(|n| *n == "bin/busybox").count(), 1);
    }
}
