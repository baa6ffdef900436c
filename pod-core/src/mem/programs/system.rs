//! Programs about the system: interfaces, files' status, owners.

use super::{OK, add, options, print};
use crate::ExitStatus;
use crate::copy::FileType;
use crate::mem::fs::{Fs, FsError, Node, NodeKind};
use crate::mem::procfs;
use crate::mem::program::{ProgramContext, Programs, find_user};
use tokio::io::AsyncWriteExt;

pub(super) fn register(programs: &Programs) {
    add(programs, "ip", ip);
    add(programs, "stat", stat);
    add(programs, "mktemp", mktemp);
    add(programs, "chown", chown);
    add(programs, "nc", nc);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `nc -l -p PORT`: takes one connection, sends it its stdin and prints what comes, until the other side
/// closes.
async fn nc(mut cx: ProgramContext) -> ExitStatus {
    let (flags, operands) = match options(&cx.argv()[1..], "l", "p") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(1, why).await,
    };
    let port = flags.iter().find(|(c, _)| *c == 'p').and_then(|(_, v)| text(v).parse::<u16>().ok());
    let (Some(port), true, []) = (port, flags.iter().any(|(c, _)| *c == 'l'), operands.as_slice()) else {
        return cx.fail(1, "this simulated program only knows -l -p PORT").await;
    };
    let Some(mut listener) = cx.machine.listeners.listen(port) else {
        return cx.fail(1, "bind: Address already in use").await;
    };
    let Some(stream) = listener.recv().await else { return cx.fail(1, "accept: failed").await };
    drop(listener);
    let (mut from, mut to) = tokio::io::split(stream);
    let mut stdin = cx.stdin.clone();
    let send = async {
        let done = tokio::io::copy(&mut stdin, &mut to).await;
        // The other side sees end-of-file, and may go on sending.
        let _ = to.shutdown().await;
        if done.is_ok() { std::future::pending().await } else { done }
    };
    let done = tokio::select! {
        done = tokio::io::copy(&mut from, &mut cx.stdout) => done,
        done = send => done,
    };
    match done {
        Ok(_) => OK,
        Err(e) => cx.fail(1, e).await,
    }
}

/// `ip [-j] [-d] [-4 | -6] address show`, `ip [-j] [-4 | -6] route show`, `ip -V`
async fn ip(mut cx: ProgramContext) -> ExitStatus {
    let args = cx.args();
    let flags: Vec<&str> = args.iter().map(String::as_str).filter(|a| a.starts_with('-')).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    if let Some(unknown) = flags.iter().find(|f| !matches!(**f, "-j" | "-d" | "-4" | "-6" | "-V" | "-o")) {
        return cx.fail(255, format!("this simulated program has no option {unknown:?}")).await;
    }
    if flags.contains(&"-V") {
        return print(cx, "ip utility, iproute2-pod-mem\n").await;
    }
    let ports = cx.machine.ports();
    let json = flags.contains(&"-j");
    let out = match words.as_slice() {
        ["a" | "addr" | "address"] | ["a" | "addr" | "address", "show"] if json => {
            procfs::address_json(&ports).to_string()
        }
        ["a" | "addr" | "address"] | ["a" | "addr" | "address", "show"] => procfs::address_text(&ports),
        ["r" | "route"] | ["r" | "route", "show"] => {
            let routes = procfs::routes(&ports, flags.contains(&"-6"));
            if json {
                let all = routes.iter().map(|(to, via, dev, source)| {
                    let mut route = serde_json::json!({"dst": to, "dev": dev, "flags": []});
                    if let Some(via) = via {
                        route["gateway"] = via.as_str().into();
                    }
                    if let Some(source) = source {
                        route["prefsrc"] = source.as_str().into();
                    }
                    route
                });
                serde_json::Value::from_iter(all).to_string()
            } else {
                let line = |(to, via, dev, source): &(String, Option<String>, String, Option<String>)| {
                    let via = via.as_ref().map(|v| format!(" via {v}")).unwrap_or_default();
                    let source =
                        source.as_ref().map(|s| format!(" proto kernel scope link src {s}")).unwrap_or_default();
                    format!("{to}{via} dev {dev}{source}\n")
                };
                routes.iter().map(line).collect()
            }
        }
        _ => return cx.fail(255, "this simulated program has only 'address show' and 'route show'").await,
    };
    print(cx, if json { out + "\n" } else { out }).await
}

/// One letter of a format of stat(1).
fn field(letter: u8, path: &[u8], node: &Node) -> Option<String> {
    let (kind, words) = match node.file_type() {
        FileType::File => (0o100_000, "regular file"),
        FileType::Dir => (0o040_000, "directory"),
        FileType::Symlink => (0o120_000, "symbolic link"),
        FileType::Other => (0o020_000, "character special file"),
    };
    Some(match letter {
        b'a' => format!("{:o}", node.mode),
        b'f' => format!("{:x}", kind | node.mode),
        b'F' => words.into(),
        b'g' => node.gid.to_string(),
        b'h' => node.nlink.to_string(),
        b'n' => text(path),
        b's' => node.size().to_string(),
        b'u' => node.uid.to_string(),
        b'y' => {
            let time = jiff::Timestamp::new(node.mtime.0, i32::try_from(node.mtime.1).ok()?).ok()?;
            let utc = time.to_zoned(jiff::tz::TimeZone::UTC);
            format!("{}.{:09} +0000", utc.strftime("%Y-%m-%d %H:%M:%S"), node.mtime.1)
        }
        b'Y' => node.mtime.0.to_string(),
        _ => return None,
    })
}

/// One letter of a format of `stat -f`: blocks of 4,096 bytes.
fn system_field(letter: u8, path: &[u8], fs: &Fs) -> Option<String> {
    let (used, capacity) = fs.usage();
    // Without a limit the disk is as large as any.
    let total = capacity.unwrap_or(1 << 44) / 4096;
    let free = total.saturating_sub(used.div_ceil(4096));
    Some(match letter {
        b'S' | b's' => "4096".into(),
        b'b' => total.to_string(),
        b'f' | b'a' => free.to_string(),
        b'c' | b'd' => (1u64 << 32).to_string(),
        b'n' => text(path),
        _ => return None,
    })
}

/// `stat [-L] [-f] -c FORMAT PATH…`
async fn stat(mut cx: ProgramContext) -> ExitStatus {
    if cx.args() == ["--version"] {
        return print(cx, "stat (pod-mem)\n").await;
    }
    let (found, paths) = match options(&cx.argv()[1..], "Lf", "c") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(1, why).await,
    };
    let has = |c: char| found.iter().any(|(f, _)| *f == c);
    let Some(format) = found.iter().find(|(c, _)| *c == 'c').map(|(_, f)| f.clone()) else {
        return cx.fail(1, "this simulated program needs '-c FORMAT'").await;
    };
    let (mut out, mut code) = (Vec::new(), 0);
    for path in &paths {
        let line = {
            let fs = cx.machine.fs.lock();
            let found = fs.lookup(cx.launch.cred, cx.launch.cwd, path, has('L') || has('f'));
            found.and_then(|ino| fs.node(ino)).map(|node| {
                let mut line = Vec::new();
                let mut rest = format.as_slice();
                while let Some(at) = rest.iter().position(|b| *b == b'%') {
                    line.extend(&rest[..at]);
                    let letter = rest.get(at + 1).copied().unwrap_or(b'%');
                    let value = if has('f') { system_field(letter, path, &fs) } else { field(letter, path, node) };
                    match value {
                        _ if letter == b'n' => line.extend(path),
                        Some(value) => line.extend(value.into_bytes()),
                        None => line.push(b'?'),
                    }
                    rest = rest.get(at + 2..).unwrap_or_default();
                }
                line.extend(rest);
                line.push(b'\n');
                line
            })
        };
        match line {
            Ok(line) => out.extend(line),
            Err(e) => {
                cx.fail(1, format!("cannot stat '{}': {}", text(path), e.text())).await;
                code = 1;
            }
        }
    }
    match print(cx, out).await {
        OK => ExitStatus::Exited(code),
        other => other,
    }
}

/// `mktemp TEMPLATE`: its last `X`es become letters.
async fn mktemp(mut cx: ProgramContext) -> ExitStatus {
    let Some(template) = cx.argv().get(1).cloned() else {
        return cx.fail(1, "a template is expected").await;
    };
    let keep = template.len() - template.iter().rev().take_while(|b| **b == b'X').count();
    if template.len() - keep < 3 {
        return cx.fail(1, format!("too few X's in template '{}'", text(&template))).await;
    }
    let made = {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let letters = id.bytes().cycle().take(template.len() - keep);
        let path: Vec<u8> = template[..keep].iter().copied().chain(letters).collect();
        let mut fs = cx.machine.fs.lock();
        fs.parent_of(cx.launch.cred, cx.launch.cwd, &path)
            .and_then(|(dir, name)| fs.make_file(cx.launch.cred, dir, &name, 0o600))
            .map(|_| path)
    };
    match made {
        Ok(mut path) => {
            path.push(b'\n');
            print(cx, path).await
        }
        Err(e) => cx.fail(1, format!("failed to create file via template '{}': {}", text(&template), e.text())).await,
    }
}

/// `chown USER[:GROUP] PATH…`
async fn chown(mut cx: ProgramContext) -> ExitStatus {
    let args = cx.argv()[1..].to_vec();
    let Some((owner, paths)) = args.split_first().filter(|(_, paths)| !paths.is_empty()) else {
        return cx.fail(1, "an owner and a path are expected").await;
    };
    let owner = match find_user(&cx.machine, &text(owner)) {
        Ok((owner, _)) => owner,
        Err(why) => return cx.fail(1, why).await,
    };
    for path in paths {
        let done = {
            let mut fs = cx.machine.fs.lock();
            fs.lookup(cx.launch.cred, cx.launch.cwd, path, true).and_then(|ino| {
                let node = fs.node_mut(ino)?;
                let may = cx.launch.cred.uid == 0 || (node.uid, node.gid) == (owner.uid, owner.gid);
                if !may || matches!(node.kind, NodeKind::Device(_)) {
                    return Err(FsError::Denied);
                }
                (node.uid, node.gid) = (owner.uid, owner.gid);
                Ok(())
            })
        };
        if let Err(e) = done {
            return cx.fail(1, format!("{}: {}", text(path), e.text())).await;
        }
    }
    OK
}
