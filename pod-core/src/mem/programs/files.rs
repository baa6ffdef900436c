//! Programs about files.

use super::{OK, add, options, output_failed, print};
use crate::ExitStatus;
use crate::mem::fs::{Fs, FsError, Ino, NodeKind};
use crate::mem::program::{ProgramContext, Programs};

pub(super) fn register(programs: &Programs) {
    add(programs, "ls", ls);
    add(programs, "mkdir", mkdir);
    add(programs, "rmdir", rmdir);
    add(programs, "rm", rm);
    add(programs, "ln", ln);
    add(programs, "mv", mv);
    add(programs, "touch", touch);
    add(programs, "chmod", chmod);
    add(programs, "readlink", readlink);
    add(programs, "pwd", pwd);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Does something with each operand; each failure is told, and makes the code 1.
async fn each(
    mut cx: ProgramContext,
    flags: &str,
    act: impl Fn(&ProgramContext, &mut Fs, &[u8], &[char]) -> Result<(), FsError> + Send,
) -> ExitStatus {
    let (found, operands) = match options(&cx.argv()[1..], flags, "") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(2, why).await,
    };
    let flags: Vec<char> = found.iter().map(|(c, _)| *c).collect();
    if operands.is_empty() {
        return cx.fail(2, "a path is expected").await;
    }
    let mut code = 0;
    for path in &operands {
        let done = act(&cx, &mut cx.machine.fs.lock(), path, &flags);
        if let Err(e) = done {
            cx.fail(1, format!("{}: {}", text(path), e.text())).await;
            code = 1;
        }
    }
    ExitStatus::Exited(code)
}

/// `ls [-1] [-a] [PATH…]`: one name a line.
async fn ls(mut cx: ProgramContext) -> ExitStatus {
    let (found, mut operands) = match options(&cx.argv()[1..], "1aA", "") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(2, why).await,
    };
    let hidden = found.iter().any(|(c, _)| matches!(c, 'a' | 'A'));
    if operands.is_empty() {
        operands.push(b".".to_vec());
    }
    let mut code = 0;
    for path in &operands {
        let names = {
            let fs = cx.machine.fs.lock();
            let (cred, cwd) = (cx.launch.cred, cx.launch.cwd);
            fs.lookup(cred, cwd, path, true).and_then(|ino| match fs.node(ino)?.kind {
                NodeKind::Dir(_) => Ok(fs.entries(cred, ino)?.into_iter().map(|(n, _)| n).collect()),
                _ => Ok(vec![path.clone()]),
            })
        };
        match names {
            Ok(names) => {
                let mut out = Vec::new();
                for name in names.iter().filter(|n: &&Vec<u8>| hidden || !n.starts_with(b".")) {
                    out.extend_from_slice(name);
                    out.push(b'\n');
                }
                if let Err(e) = cx.print(out).await {
                    return output_failed(&mut cx, &e).await;
                }
            }
            Err(e) => {
                cx.fail(2, format!("{}: {}", text(path), e.text())).await;
                code = 2;
            }
        }
    }
    ExitStatus::Exited(code)
}

/// `mkdir [-p] PATH…`
async fn mkdir(cx: ProgramContext) -> ExitStatus {
    each(cx, "p", |cx, fs, path, flags| {
        let (cred, cwd) = (cx.launch.cred, cx.launch.cwd);
        if !flags.contains(&'p') {
            let (dir, name) = fs.parent_of(cred, cwd, path)?;
            return fs.make_dir(cred, dir, &name, 0o777 & !cx.launch.umask).map(|_| ());
        }
        let mut at: Ino = if path.starts_with(b"/") { crate::mem::fs::ROOT } else { cwd };
        for part in path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".") {
            at = match fs.lookup(cred, at, part, true) {
                Ok(ino) => match fs.node(ino)?.kind {
                    NodeKind::Dir(_) => ino,
                    _ => return Err(FsError::NotDir),
                },
                Err(FsError::NotFound) => fs.make_dir(cred, at, part, 0o777 & !cx.launch.umask)?,
                Err(e) => return Err(e),
            };
        }
        Ok(())
    })
    .await
}

/// `rmdir PATH…`
async fn rmdir(cx: ProgramContext) -> ExitStatus {
    each(cx, "", |cx, fs, path, _| {
        let (cred, cwd) = (cx.launch.cred, cx.launch.cwd);
        let (dir, name) = fs.parent_of(cred, cwd, path)?;
        let ino = fs.child(dir, &name)?.ok_or(FsError::NotFound)?;
        match fs.node(ino)?.kind {
            NodeKind::Dir(_) => fs.unlink(cred, dir, &name),
            _ => Err(FsError::NotDir),
        }
    })
    .await
}

/// `rm [-r] [-f] PATH…`
async fn rm(cx: ProgramContext) -> ExitStatus {
    each(cx, "rRf", |cx, fs, path, flags| {
        let (cred, cwd) = (cx.launch.cred, cx.launch.cwd);
        let removed = fs.parent_of(cred, cwd, path).and_then(|(dir, name)| {
            let ino = fs.child(dir, &name)?.ok_or(FsError::NotFound)?;
            match fs.node(ino)?.kind {
                NodeKind::Dir(_) if flags.iter().any(|f| matches!(f, 'r' | 'R')) => fs.remove_tree(cred, dir, &name),
                NodeKind::Dir(_) => Err(FsError::IsDir),
                _ => fs.unlink(cred, dir, &name),
            }
        });
        match removed {
            Err(FsError::NotFound) if flags.contains(&'f') => Ok(()),
            other => other,
        }
    })
    .await
}

/// Where an operand goes: into a directory under its own name, or to the path itself.
fn destination(cx: &ProgramContext, fs: &Fs, from: &[u8], to: &[u8]) -> Result<(Ino, Vec<u8>), FsError> {
    let (cred, cwd) = (cx.launch.cred, cx.launch.cwd);
    if let Ok(ino) = fs.lookup(cred, cwd, to, true)
        && matches!(fs.node(ino)?.kind, NodeKind::Dir(_))
    {
        let name = from.split(|b| *b == b'/').rfind(|p| !p.is_empty()).ok_or(FsError::Invalid)?;
        return Ok((ino, name.to_vec()));
    }
    fs.parent_of(cred, cwd, to)
}

async fn two(
    mut cx: ProgramContext,
    flags: &str,
    act: impl Fn(&ProgramContext, &mut Fs, &[u8], &[u8], &[char]) -> Result<(), FsError> + Send,
) -> ExitStatus {
    let (found, operands) = match options(&cx.argv()[1..], flags, "") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(2, why).await,
    };
    let flags: Vec<char> = found.iter().map(|(c, _)| *c).collect();
    let [from, to] = &operands[..] else {
        return cx.fail(2, "two paths are expected").await;
    };
    let done = act(&cx, &mut cx.machine.fs.lock(), from, to, &flags);
    match done {
        Ok(()) => OK,
        Err(e) => cx.fail(1, format!("{}: {}", text(to), e.text())).await,
    }
}

/// `ln [-s] [-f] TARGET PATH`
async fn ln(cx: ProgramContext) -> ExitStatus {
    two(cx, "sf", |cx, fs, target, path, flags| {
        let (cred, cwd) = (cx.launch.cred, cx.launch.cwd);
        let (dir, name) = destination(cx, fs, target, path)?;
        if flags.contains(&'f') && fs.child(dir, &name)?.is_some() {
            fs.unlink(cred, dir, &name)?;
        }
        if flags.contains(&'s') {
            return fs.make_symlink(cred, dir, &name, target).map(|_| ());
        }
        let ino = fs.lookup(cred, cwd, target, true)?;
        match fs.node(ino)?.kind {
            NodeKind::Dir(_) => Err(FsError::Denied),
            _ => fs.link(cred, dir, &name, ino),
        }
    })
    .await
}

/// `mv [-f] FROM TO`
async fn mv(cx: ProgramContext) -> ExitStatus {
    two(cx, "f", |cx, fs, from, to, _| {
        let (cred, cwd) = (cx.launch.cred, cx.launch.cwd);
        let source = fs.parent_of(cred, cwd, from)?;
        let dest = destination(cx, fs, from, to)?;
        fs.rename(cred, (source.0, &source.1), (dest.0, &dest.1))
    })
    .await
}

/// `touch PATH…`
async fn touch(cx: ProgramContext) -> ExitStatus {
    each(cx, "", |cx, fs, path, _| {
        let how = crate::mem::fs::OpenHow::write(true, cx.launch.umask);
        let ino = fs.open(cx.launch.cred, cx.launch.cwd, path, how)?;
        fs.node_mut(ino)?.mtime = crate::mem::fs::now();
        fs.release(ino);
        Ok(())
    })
    .await
}

/// `chmod OCTAL PATH…` or `chmod +x PATH…`
async fn chmod(mut cx: ProgramContext) -> ExitStatus {
    let args = cx.argv()[1..].to_vec();
    let Some((mode, paths)) = args.split_first().filter(|(_, paths)| !paths.is_empty()) else {
        return cx.fail(2, "a mode and a path are expected").await;
    };
    let (set, add) = match text(mode).as_str() {
        "+x" => (None, 0o111),
        "+w" => (None, 0o200),
        "+r" => (None, 0o444),
        octal => match u32::from_str_radix(octal, 8) {
            Ok(mode) if mode <= 0o7777 => (Some(mode), 0),
            _ => return cx.fail(1, format!("this simulated program has no mode {octal:?}")).await,
        },
    };
    for path in paths {
        let done = {
            let mut fs = cx.machine.fs.lock();
            let (cred, cwd) = (cx.launch.cred, cx.launch.cwd);
            fs.lookup(cred, cwd, path, true).and_then(|ino| {
                let node = fs.node_mut(ino)?;
                if cred.uid != 0 && cred.uid != node.uid {
                    return Err(FsError::Denied);
                }
                node.mode = set.unwrap_or(node.mode) | add;
                Ok(())
            })
        };
        if let Err(e) = done {
            return cx.fail(1, format!("{}: {}", text(path), e.text())).await;
        }
    }
    OK
}

/// `readlink [-n] [-f] PATH`
async fn readlink(mut cx: ProgramContext) -> ExitStatus {
    let (found, paths) = match options(&cx.argv()[1..], "nf", "") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(1, why).await,
    };
    let has = |c: char| found.iter().any(|(f, _)| *f == c);
    let Some(path) = paths.first() else {
        return cx.fail(1, "a path is expected").await;
    };
    let target = {
        let fs = cx.machine.fs.lock();
        let (cred, cwd) = (cx.launch.cred, cx.launch.cwd);
        if has('f') {
            fs.canonical(cred, cwd, path).ok()
        } else {
            fs.lookup(cred, cwd, path, false).ok().and_then(|ino| match &fs.node(ino).ok()?.kind {
                NodeKind::Symlink(target) => Some(target.clone()),
                _ => None,
            })
        }
    };
    match target {
        Some(mut target) => {
            if !has('n') {
                target.push(b'\n');
            }
            print(cx, target).await
        }
        None => ExitStatus::Exited(1),
    }
}

/// `pwd`
async fn pwd(mut cx: ProgramContext) -> ExitStatus {
    let path = cx.machine.fs.lock().path_of(cx.launch.cwd);
    match path {
        Ok(mut path) => {
            path.push(b'\n');
            print(cx, path).await
        }
        Err(e) => cx.fail(1, e.text()).await,
    }
}
