//! Definitions in the files that a command line names.

use crate::context::Context;
use pod::k8s::nad::{Manifests, NetworkAttachmentDefinition};
use pod::{Error, IoResultExt, Result};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most that is read of a file, in bytes: the API server takes objects up to about 1.5 MiB, etcd's
/// limit.
const LARGEST: u64 = 16 << 20;

/// Reads all definitions of all files. A file without one is an error: nothing would be checked.
pub(super) fn read(context: &Context, files: &[PathBuf]) -> Result<Vec<NetworkAttachmentDefinition>> {
    let mut all = Vec::new();
    for file in files {
        let found = read_one(file).map_err(|e| e.with_context("file", file.display().to_string()))?;
        for other in &found.others {
            context.say(&format!("{}: {other} is left out", file.display()));
        }
        all.extend(found.definitions);
    }
    Ok(all)
}

fn read_one(file: &Path) -> Result<Manifests> {
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(LARGEST).read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|f| f.take(LARGEST).read_to_string(&mut text)),
    };
    read.doing(|| "read the definitions")?;
    let name = file.file_stem().and_then(|s| s.to_str()).filter(|s| *s != "-").unwrap_or("stdin");
    let found = Manifests::read(&text, name)?;
    if found.definitions.is_empty() {
        return Err(Error::invalid("the file holds no network attachment definition")
            .with_hint("`kubectl get net-attach-def -o yaml` prints those of a cluster"));
    }
    Ok(found)
}
