//! `archive:FILE`: an image in a tar file, as `docker save` writes it (docker-archive) or as an OCI
//! layout (image-spec, image-layout.md).
//!
//! Layers are unpacked once, each into a folder named after the digest of its contents, and shared by
//! the workloads that use them; the removal of the last one removes them.

use super::Root;
use crate::store::Store;
use bytes::Bytes;
use pod_core::copy::tar;
use pod_core::copy::tree::{WriteOptions, write_tree};
use pod_core::{Error, ErrorKind, IoResultExt, Result};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The most bytes of a manifest or configuration.
const MAX_JSON: u64 = 4 << 20;
/// The most entries of one layer, and the most bytes: more is a bomb.
const MAX_ENTRIES: u64 = 5_000_000;
const MAX_BYTES: u64 = 256 << 30;

/// Where a member of the archive lies.
#[derive(Debug, Clone)]
enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

/// The archive: its members by name.
struct Archive {
    path: PathBuf,
    members: BTreeMap<String, Member>,
}

/// docker-archive's `manifest.json`: one of these for each image.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    layers: Vec<String>,
}

/// A reference to a blob (image-spec, descriptor.md).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// The image's configuration (image-spec, config.md); other keys say nothing about running it.
#[derive(Deserialize, Default)]
struct Config {
    #[serde(default)]
    config: Option<Run>,
    #[serde(default)]
    rootfs: Option<Rootfs>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Run {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    working_dir: Option<String>,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Vec<String>,
}

/// A layer: its blob in the archive and the digest of its contents.
struct Layer {
    member: String,
    diff_id: String,
}

/// Opens the file and unpacks the layers that are not there yet. Blocks, on a thread of a runtime.
///
/// # Errors
/// `NotFound`; `InvalidInput` for what is no image; `Integrity` for a layer that is not what its
/// configuration says; `Exhausted` on a full disk.
pub(crate) fn open(path: &Path, store: &Store) -> Result<Root> {
    let opened = read(path, store);
    opened.map_err(|e| e.with_context("image", format!("archive:{}", path.display())))
}

fn no_image(why: impl Into<String>) -> Error {
    Error::invalid(format!("that is no image: {}", why.into()))
        .with_hint("`docker save` and `skopeo copy … oci-archive:` write such files")
}

fn read(path: &Path, store: &Store) -> Result<Root> {
    let archive = Archive::index(path)?;
    let (config, layers) = archive.image()?;
    let lock = lock_layers(store, FlockOperation::LockShared)?;
    let mut lower = Vec::new();
    for layer in &layers {
        lower.push(archive.unpack(layer, store)?);
    }
    // An overlay names its uppermost layer first; an image its lowest. A layer may come twice.
    lower.reverse();
    let mut seen = BTreeSet::new();
    lower.retain(|l| seen.insert(l.clone()));
    let run = config.config.unwrap_or_default();
    let some = |text: Option<String>| text.filter(|t| !t.is_empty());
    Ok(Root {
        lower,
        command: run.cmd.unwrap_or_default(),
        entrypoint: run.entrypoint.unwrap_or_default(),
        env: run
            .env
            .unwrap_or_default()
            .iter()
            .filter_map(|e| e.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
            .collect(),
        cwd: some(run.working_dir),
        user: some(run.user),
        tmpfs_run: false,
        host: false,
        lock: Some(Arc::new(lock)),
    })
}

impl Archive {
    /// Lists the members.
    fn index(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, "there is no such file"),
            _ => Error::io("open the image's file", e),
        })?;
        if !file.metadata().is_ok_and(|m| m.is_file()) {
            return Err(no_image("it is not a file").with_hint("`rootfs:DIR` takes a folder"));
        }
        let mut members = BTreeMap::new();
        let mut tar = ::tar::Archive::new(BufReader::new(file));
        let bad = |e: io::Error| no_image("it is not a tar file, or it is cut short").with_source(e);
        for entry in tar.entries_with_seek().map_err(bad)? {
            let entry = entry.map_err(bad)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            let member = match entry.header().entry_type() {
                ::tar::EntryType::Regular => Member::File { offset: entry.raw_file_position(), size: entry.size() },
                // Old versions of `docker save` write a layer once and links to it.
                ::tar::EntryType::Symlink | ::tar::EntryType::Link => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    Member::Link(resolve_link(&name, &String::from_utf8_lossy(&target)))
                }
                _ => continue,
            };
            members.insert(name, member);
        }
        Ok(Self { path: path.to_owned(), members })
    }

    /// The bytes of a member.
    fn member(&self, name: &str) -> Result<io::Take<File>> {
        let mut at = name;
        for _ in 0..8 {
            match self.members.get(at) {
                Some(Member::File { offset, size }) => {
                    let mut file = File::open(&self.path).doing(|| "open the image's file")?;
                    file.seek(SeekFrom::Start(*offset)).doing(|| "read the image's file")?;
                    return Ok(file.take(*size));
                }
                Some(Member::Link(target)) => at = target,
                None => break,
            }
        }
        Err(no_image(format!("it has no {name:?}")))
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, name: &str, digest: Option<&str>) -> Result<T> {
        let mut text = Vec::new();
        let member = self.member(name)?;
        if member.limit() > MAX_JSON {
            return Err(no_image(format!("its {name:?} is larger than {MAX_JSON} bytes")));
        }
        member.take(MAX_JSON).read_to_end(&mut text).doing(|| "read the image's file")?;
        if let Some(expected) = digest {
            check_digest(name, expected, Sha256::digest(&text).as_slice())?;
        }
        serde_json::from_slice(&text).map_err(|e| no_image(format!("its {name:?} is not understood: {e}")))
    }

    /// The image's configuration and layers, the lowest first.
    fn image(&self) -> Result<(Config, Vec<Layer>)> {
        let (config, members): (Config, Vec<String>) = if self.members.contains_key("manifest.json") {
            let mut images: Vec<DockerManifest> = self.json("manifest.json", None)?;
            if images.len() != 1 {
                return Err(no_image(format!("it holds {} images, and one is wanted", images.len())));
            }
            let image = images.remove(0);
            (self.json(&image.config, None)?, image.layers)
        } else if self.members.contains_key("index.json") {
            let index: Index = self.json("index.json", None)?;
            let [one] = index.manifests.as_slice() else {
                return Err(no_image(format!("it holds {} images, and one is wanted", index.manifests.len())));
            };
            if one.media_type.contains("index") || one.media_type.contains("manifest.list") {
                return Err(no_image("it holds images for several platforms, and one is wanted"));
            }
            let manifest: Manifest = self.json(&blob(&one.digest)?, Some(&one.digest))?;
            let config = self.json(&blob(&manifest.config.digest)?, Some(&manifest.config.digest))?;
            let layers = manifest.layers.iter().map(|l| blob(&l.digest)).collect::<Result<Vec<_>>>()?;
            (config, layers)
        } else {
            return Err(no_image("it has neither a manifest.json nor an index.json"));
        };
        let diff_ids = config.rootfs.as_ref().map(|r| r.diff_ids.clone()).unwrap_or_default();
        if diff_ids.len() != members.len() || members.is_empty() {
            return Err(no_image(format!("it has {} layers and {} digests of layers", members.len(), diff_ids.len())));
        }
        let layers = members.into_iter().zip(diff_ids).map(|(member, diff_id)| Layer { member, diff_id }).collect();
        Ok((config, layers))
    }

    /// The folder of a layer, unpacked if it is not there.
    fn unpack(&self, layer: &Layer, store: &Store) -> Result<PathBuf> {
        let digest = hex_of(&layer.diff_id)?;
        let layers = layers_dir(store);
        let place = layers.join(&digest[..32]);
        if place.is_dir() {
            return Ok(place);
        }
        let temp = layers.join(format!(".{}", uuid::Uuid::new_v4().simple()));
        let unpacked = self.unpack_into(layer, &temp).and_then(|()| match fs::rename(&temp, &place) {
            // Another process unpacked it meanwhile.
            Err(_) if place.is_dir() => fs::remove_dir_all(&temp).doing(|| "remove a spare layer"),
            done => done.doing(|| "put a layer in place"),
        });
        if unpacked.is_err() {
            // The error that matters is the one at hand.
            let _ = fs::remove_dir_all(&temp);
        }
        unpacked.map(|()| place)
    }

    fn unpack_into(&self, layer: &Layer, temp: &Path) -> Result<()> {
        fs::DirBuilder::new().mode(0o755).create(temp).doing(|| "make a folder for a layer")?;
        let digest = Arc::new(Mutex::new(Sha256::new()));
        let reader = Hashing { inner: decompress(self.member(&layer.member)?)?, digest: digest.clone() };
        let stream = tar::read(on_thread(reader)?);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(temp, flags, Mode::empty()).map_err(|e| Error::io("open the layer's folder", e.into()))?;
        let options =
            WriteOptions::new().with_archive(true).with_layer(true).with_limits(Some(MAX_ENTRIES), Some(MAX_BYTES));
        write_tree(root, b"/", stream, options).map_err(|e| e.with_context("layer", layer.member.clone()))?;
        let found = digest.lock().map_err(|_| Error::unexpected("the layer's reader failed"))?.clone().finalize();
        check_digest(&layer.member, &layer.diff_id, found.as_slice())
    }
}

/// A link's target, as a member's name: relative to the link's folder (docker-archive).
fn resolve_link(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The hexadecimal part of a SHA-256 digest (image-spec, descriptor.md).
fn hex_of(digest: &str) -> Result<&str> {
    digest
        .strip_prefix("sha256:")
        .filter(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or_else(|| no_image(format!("{digest:?} is no SHA-256 digest")))
}

fn blob(digest: &str) -> Result<String> {
    Ok(format!("blobs/sha256/{}", hex_of(digest)?))
}

fn check_digest(what: &str, expected: &str, found: &[u8]) -> Result<()> {
    let found: String = found.iter().map(|b| format!("{b:02x}")).collect();
    if hex_of(expected)?.eq_ignore_ascii_case(&found) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Integrity, "a part of the image is not what its digest says")
        .with_context("part", what)
        .with_context("expected", expected)
        .with_context("found", format!("sha256:{found}"))
        .with_hint("the file is damaged or was tampered with: fetch it again"))
}

/// Looks at the first bytes: gzip (RFC 1952) is unpacked on the way, zstd (RFC 8878) is not known.
fn decompress(member: io::Take<File>) -> Result<Box<dyn Read + Send>> {
    let mut reader = BufReader::with_capacity(256 << 10, member);
    let head = io::BufRead::fill_buf(&mut reader).doing(|| "read a layer")?;
    match head {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Err(Error::unsupported("the layer is compressed by zstd, which is not supported yet")
                .with_hint("save the image with gzip or uncompressed layers"))
        }
        _ => Ok(Box::new(reader)),
    }
}

/// Takes the digest of what passes.
struct Hashing<R> {
    inner: R,
    digest: Arc<Mutex<Sha256>>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if let Ok(mut digest) = self.digest.lock() {
            digest.update(&buf[..n]);
        }
        Ok(n)
    }
}

/// A blocking reader as an asynchronous one: a thread reads, the runtime gets the pieces. It reads to
/// the very end, so that the digest covers what comes after the tar's own end.
fn on_thread(mut reader: impl Read + Send + 'static) -> Result<impl tokio::io::AsyncRead + Send + Unpin + 'static> {
    let (pieces, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(8);
    let work = move || {
        let mut listened = true;
        loop {
            let mut buf = vec![0; 256 << 10];
            let piece = match reader.read(&mut buf) {
                Ok(0) => return,
                Ok(n) => {
                    buf.truncate(n);
                    Ok(Bytes::from(buf))
                }
                Err(e) => Err(e),
            };
            let failed = piece.is_err();
            listened = listened && pieces.blocking_send(piece).is_ok();
            if failed || !listened {
                return;
            }
        }
    };
    std::thread::Builder::new().name("pod-layer".into()).spawn(work).doing(|| "start a thread")?;
    let stream = futures_util::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|p| (p, r)) });
    Ok(tokio_util::io::StreamReader::new(Box::pin(stream)))
}

fn layers_dir(store: &Store) -> PathBuf {
    store.lib.join("layers")
}

/// Holds the layers: shared while a workload that uses them is being made, alone while unused ones are
/// removed.
fn lock_layers(store: &Store, how: FlockOperation) -> Result<File> {
    let dir = layers_dir(store);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).doing(|| "make the folder of layers")?;
    let file = File::open(&dir).doing(|| "open the folder of layers")?;
    flock(&file, how).map_err(|e| Error::io("lock the folder of layers", e.into()))?;
    Ok(file)
}

/// Removes the layers that no workload uses. Blocks. Does nothing while a workload is being made: the
/// next removal does it.
pub(crate) fn remove_unused(store: &Store) -> Result<()> {
    let dir = layers_dir(store);
    if !dir.exists() {
        return Ok(());
    }
    let Ok(_lock) = lock_layers(store, FlockOperation::NonBlockingLockExclusive) else { return Ok(()) };
    let mut used = BTreeSet::new();
    for name in store.names()? {
        match store.record(&name) {
            Ok(record) => used.extend(record.lower),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            // What a damaged record uses is not known: keep everything.
            Err(_) => return Ok(()),
        }
    }
    for entry in fs::read_dir(&dir).doing(|| "list the layers")? {
        let path = entry.doing(|| "list the layers")?.path();
        if !used.contains(&path) {
            fs::remove_dir_all(&path).doing(|| "remove an unused layer")?;
        }
    }
    // Layers in use keep the folder.
    let _ = fs::remove_dir(&dir);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_to_their_folder() {
        assert_eq!(resolve_link("a/layer.tar", "../b/layer.tar"), "b/layer.tar");
        assert_eq!(resolve_link("layer.tar", "x/y"), "x/y");
        assert_eq!(resolve_link("a/b", "../../../../c"), "c");
    }

    #[test]
    fn digests_are_checked() {
        assert!(hex_of("sha256:ab").is_err());
        assert!(hex_of("md5:00").is_err());
        let digest = Sha256::digest(b"x");
        let text: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        assert!(check_digest("x", &format!("sha256:{text}"), digest.as_slice()).is_ok());
        let e = check_digest("x", &format!("sha256:{}", "0".repeat(64)), digest.as_slice());
        assert_eq!(e.map_err(|e| e.kind()), Err(ErrorKind::Integrity));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store::new(Some(dir.path()));
        let kind = |path: &Path| open(path, &store).map_err(|e| e.kind()).err();
        assert_eq!(kind(&dir.path().join("none")), Some(ErrorKind::NotFound));
        assert_eq!(kind(dir.path()), Some(ErrorKind::InvalidInput));
        let noise = dir.path().join("noise");
        fs::write(&noise, vec![7u8; 4096]).expect("write");
        assert_eq!(kind(&noise), Some(ErrorKind::InvalidInput));
        let empty = dir.path().join("empty.tar");
        fs::write(&empty, vec![0u8; 1024]).expect("write");
        assert_eq!(kind(&empty), Some(ErrorKind::InvalidInput));
    }
}
