//! Keeps `/etc/hosts` of a running workload true when the topology around it changes.
//!
//! A workload is made with the names it must know ([`WorkloadSpec::hosts`](crate::WorkloadSpec)), and
//! its backend writes them. When the names change later, they are moved into a marked block at the
//! end; what else stands in the file is left as it is. What is there is always read from the file: a
//! backend may write it anew when it starts the workload.

use crate::copy::{CopyInRequest, CopyOutRequest, CopySource, Entry, EntryKind, Item};
use crate::{
    Backend, Capabilities, Capability, Connection, ConnectionExt, Error, ErrorKind, ExecRequest, Result, WorkloadName,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names and their addresses.
pub(super) type Names = BTreeMap<String, IpAddr>;

const PATH: &str = "/etc/hosts";
const BEGIN: &str = "# pod: the workloads of this topology";
const END: &str = "# pod: end";
/// More than this is no hosts file.
const MOST_BYTES: usize = 4 << 20;

/// Whether the names in a workload's file can be read at all.
pub(super) fn readable(capabilities: Capabilities) -> bool {
    capabilities.has(Capability::CopyOut) || capabilities.has(Capability::Exec)
}

/// The names of the topology that a workload knows now; `made` are those it was made with.
pub(super) async fn known(backend: &dyn Backend, workload: &WorkloadName, made: &Names) -> Result<Names> {
    let connection = backend.connect(workload).await?;
    let file = read(connection.as_ref(), backend.capabilities()).await?;
    Ok(current(&file, made))
}

/// Makes a running workload know these names, and checks that it does. Does nothing when it knows them
/// already.
pub(super) async fn update(backend: &dyn Backend, workload: &WorkloadName, made: &Names, wanted: &Names) -> Result<()> {
    let connection = backend.connect(workload).await?;
    let capabilities = backend.capabilities();
    let before = read(connection.as_ref(), capabilities).await?;
    if current(&before, made) == *wanted {
        return Ok(());
    }
    let after = rewrite(&before, made, wanted);
    let copied = replace(connection.as_ref(), capabilities, &after).await;
    if copied.is_ok() && current(&read(connection.as_ref(), capabilities).await?, made) == *wanted {
        return Ok(());
    }
    // Where the file is a mount of its own, no copy can put another in its place.
    overwrite(connection.as_ref(), capabilities, &after).await.map_err(|e| match copied {
        Ok(()) => e,
        Err(first) => first.with_context("and a shell could not write it", e.to_string()),
    })?;
    if current(&read(connection.as_ref(), capabilities).await?, made) == *wanted {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Integrity,
        "the names written to the workload's hosts file are not there when it is read back",
    )
    .with_context("workload", workload.as_str())
    .with_context("path", PATH))
}

async fn read(connection: &dyn Connection, capabilities: Capabilities) -> Result<Vec<u8>> {
    if !capabilities.has(Capability::CopyOut) {
        let output = connection.run(ExecRequest::new(["cat", PATH])).await?;
        return if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(Error::new(ErrorKind::CommandFailed, "the hosts file can't be read")
                .with_context("path", PATH)
                .with_context("stderr", output.stderr_text().trim().to_owned()))
        };
    }
    let absent = |e: Error| if e.kind() == ErrorKind::NotFound { Ok(Vec::new()) } else { Err(e) };
    let mut stream = match connection.copy_out(CopyOutRequest::new(PATH).with_follow(true)).await {
        Ok(stream) => stream,
        Err(e) => return absent(e),
    };
    let mut text = Vec::new();
    loop {
        match stream.next().await {
            Ok(Some(Item::Chunk(chunk))) => {
                let end = usize::try_from(chunk.offset).unwrap_or(usize::MAX).saturating_add(chunk.data.len());
                if end > MOST_BYTES {
                    return Err(Error::new(ErrorKind::Exhausted, "the hosts file is too large to be one")
                        .with_context("path", PATH));
                }
                text.resize(text.len().max(end), 0);
                text[end - chunk.data.len()..end].copy_from_slice(&chunk.data);
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(text),
            Err(e) => return absent(e),
        }
    }
}

async fn replace(connection: &dyn Connection, capabilities: Capabilities, text: &[u8]) -> Result<()> {
    if !capabilities.has(Capability::CopyIn) {
        return Err(Error::unsupported("this backend copies nothing in"));
    }
    let entry = Entry::new("", EntryKind::File { size: text.len() as u64 }).with_mode(0o644);
    let source = CopySource::Memory(vec![(entry, Bytes::copy_from_slice(text))]);
    connection.copy_in(CopyInRequest::new(PATH, source)).await.map(|_| ())
}

async fn overwrite(connection: &dyn Connection, capabilities: Capabilities, text: &[u8]) -> Result<()> {
    let mut request = ExecRequest::shell(format!("cat > {PATH}")).with_stdin();
    if capabilities.has(Capability::ExecUser) {
        request = request.with_user("0");
    }
    let output = connection.exec(request).await?.communicate(text, 64 << 10).await?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::CommandFailed, format!("the hosts file can't be written: the shell {}", output.status))
        .with_context("path", PATH)
        .with_context("stderr", output.stderr_text().trim().to_owned()))
}

/// The address and the names of one line, without its comment.
fn entry(line: &[u8]) -> Option<(IpAddr, Vec<String>)> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split('#').next()?.split_whitespace();
    let ip = words.next()?.parse().ok()?;
    Some((ip, words.map(ToOwned::to_owned).collect()))
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let file = file.strip_suffix(b"\n").unwrap_or(file);
    file.split(|b| *b == b'\n').filter(move |_| !file.is_empty())
}

/// The lines outside and inside the marked block; `None` inside when there is no block.
fn parts(file: &[u8]) -> (Vec<&[u8]>, Option<Vec<&[u8]>>) {
    let (mut outside, mut inside, mut within) = (Vec::new(), None, false);
    for line in lines(file) {
        if line == BEGIN.as_bytes() {
            within = true;
            inside.get_or_insert_with(Vec::new);
        } else if within && line == END.as_bytes() {
            within = false;
        } else if within {
            inside.get_or_insert_with(Vec::new).push(line);
        } else {
            outside.push(line);
        }
    }
    (outside, inside)
}

/// The names of the topology in a file: those of the block, else those the workload was made with as
/// far as they are there.
fn current(file: &[u8], made: &Names) -> Names {
    let (outside, inside) = parts(file);
    let mut names = Names::new();
    let ours = inside.is_some();
    for (ip, words) in inside.unwrap_or(outside).into_iter().filter_map(entry) {
        for name in words.into_iter().filter(|n| ours || made.contains_key(n)) {
            // The first of two lines is the one that counts (hosts(5), gethostbyname(3)).
            names.entry(name).or_insert(ip);
        }
    }
    names
}

/// The file with its block replaced by these names, and without them elsewhere.
fn rewrite(file: &[u8], made: &Names, wanted: &Names) -> Vec<u8> {
    let (outside, _) = parts(file);
    let mut out = Vec::new();
    for line in outside {
        match entry(line) {
            Some((ip, words)) if words.iter().any(|w| made.contains_key(w) || wanted.contains_key(w)) => {
                let kept: Vec<_> =
                    words.into_iter().filter(|w| !made.contains_key(w) && !wanted.contains_key(w)).collect();
                if !kept.is_empty() {
                    out.extend_from_slice(format!("{ip} {}\n", kept.join(" ")).as_bytes());
                }
            }
            _ => {
                out.extend_from_slice(line);
                out.push(b'\n');
            }
        }
    }
    out.extend_from_slice(format!("{BEGIN}\n").as_bytes());
    for (name, ip) in wanted {
        out.extend_from_slice(format!("{ip} {name}\n").as_bytes());
    }
    out.extend_from_slice(format!("{END}\n").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[(&str, &str)]) -> Names {
        all.iter().map(|(n, ip)| ((*n).to_owned(), ip.parse().expect("ip"))).collect()
    }

    #[test]
    fn names_move_into_a_block_and_the_rest_stays() {
        let made = names(&[("a2", "10.0.0.2"), ("a3", "10.0.0.3")]);
        let file = b"127.0.0.1 localhost\n# caf\xe9\n10.0.0.2 a2 alias # by pod\n10.0.0.3\ta3\n10.0.0.9 other";
        assert_eq!(current(file, &made), made);
        let wanted = names(&[("a2", "10.0.0.7"), ("a4", "fd00::4")]);
        let after = rewrite(file, &made, &wanted);
        assert_eq!(
            String::from_utf8_lossy(&after),
            "127.0.0.1 localhost\n# caf\u{fffd}\n10.0.0.2 alias\n10.0.0.9 other\n\
             # pod: the workloads of this topology\n10.0.0.7 a2\nfd00::4 a4\n# pod: end\n"
        );
        assert!(after.windows(5).any(|w| w == b"caf\xe9\n"), "other bytes stay as they are");
        assert_eq!(current(&after, &made), wanted);
        // Again and again gives the same, and back to what it was made with as well.
        assert_eq!(rewrite(&after, &made, &wanted), after);
        assert_eq!(current(&rewrite(&after, &made, &made), &made), made);
        assert_eq!(current(&rewrite(&after, &made, &Names::new()), &made), Names::new());
    }

    #[test]
    fn a_file_written_anew_counts_as_it_is() {
        let made = names(&[("a2", "10.0.0.2")]);
        assert_eq!(current(b"", &made), Names::new());
        assert_eq!(current(b"10.0.0.2 a2\n", &made), made);
        assert_eq!(current(b"10.0.0.5 a2\n10.0.0.2 a2\n", &made), names(&[("a2", "10.0.0.5")]));
        assert_eq!(current(b"not an address a2\n", &made), Names::new());
    }
}
