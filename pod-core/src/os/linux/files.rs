//! Files by `stat`, `find`, `cat` and the like, with names of any bytes.

use crate::copy::{FileStat, FileType};
use crate::os::files::{FileEntry, PathBytes, Removed, checked};
use crate::os::plan::{Input, Plan, Step, check};
use crate::os::script::{Sections, garbled, script};
use crate::{Error, ExitStatus, Output, Result};
use std::collections::HashMap;

/// What `stat -c` prints of a file, in GNU's words that BusyBox knows too: mode in hexadecimal, size,
/// time in seconds, owner, group, and the time for people, of which the fraction is taken.
const FORMAT: &str = "%f %s %Y %u %g %y";

fn stat_line(line: &str) -> Result<FileStat> {
    let bad = || garbled("stat printed no such line").with_context("line", line.chars().take(100).collect::<String>());
    let words: Vec<&str> = line.split_whitespace().collect();
    let [mode, size, seconds, uid, gid, _day, time, ..] = words[..] else { return Err(bad()) };
    let mode = u32::from_str_radix(mode, 16).map_err(|e| bad().with_source(e))?;
    let number = |w: &str| w.parse::<u64>().map_err(|e| bad().with_source(e));
    let id = |w: &str| w.parse::<u32>().map_err(|e| bad().with_source(e));
    // The file types of inode(7).
    let kind = match mode & 0o170_000 {
        0o100_000 => FileType::File,
        0o040_000 => FileType::Dir,
        0o120_000 => FileType::Symlink,
        _ => FileType::Other,
    };
    let nanos = time.split_once('.').map_or("0", |(_, n)| n);
    let mut stat = FileStat::new(kind, number(size)?);
    stat.mode = mode & 0o7777;
    stat.mtime = (seconds.parse().map_err(|_| bad())?, nanos.parse().map_err(|_| bad())?);
    (stat.uid, stat.gid) = (id(uid)?, id(gid)?);
    Ok(stat)
}

/// The plan that looks at a path.
pub(crate) fn stat(path: &[u8], follow: bool) -> Result<Plan<Option<FileStat>>> {
    let step = script(
        r#"has stat || fail 92 "the workload has no stat"
if o=$(stat $2 -c "$3" "$1" 2>&1); then
  s stat; printf '%s\n' "$o"
  printf '\0target\0'; if [ -z "$2" ] && [ -L "$1" ]; then readlink -n "$1"; fi
  exit 0
fi
case $o in
  *": No such file or directory"|*": Not a directory"|*": Too many levels of symbolic links") s none; exit 0 ;;
esac
printf '%s\n' "$o" >&2; exit 1"#,
        [checked(path)?, if follow { b"-L" } else { b"" }, FORMAT.as_bytes()],
    );
    Ok(Plan::new(step, |output| {
        if Sections::of(output).is_ok_and(|s| s.bytes("none").is_ok()) {
            return Ok(None);
        }
        let (sections, target) = Sections::with_tail(output, "target")?;
        let mut stat = stat_line(&sections.line("stat")?)?;
        stat.target = (stat.kind == FileType::Symlink).then(|| target.to_vec());
        Ok(Some(stat))
    }))
}

/// The plan that reads a file of at most `limit` bytes.
pub(crate) fn read_file(path: &[u8], limit: usize) -> Result<Plan<Vec<u8>>> {
    let step = script(
        r#"if [ -d "$1" ]; then fail 94 "this is a folder: $1"; fi
exec cat "$1""#,
        [checked(path)?],
    );
    Ok(Plan::new(step.with_limit(limit), |output| Ok(output.stdout.clone())))
}

/// Writes beside the target, counts what arrived, then renames. A mounted file can't be renamed over,
/// and one of an owner that can't be kept must not be: those are written in place.
const WRITE: &str = r#"
umask 077
t=$1
if [ -L "$t" ]; then t=$(readlink -f "$t" && echo x) || fail 90 "this link leads nowhere: $1"; t=${t%??}; fi
if [ -d "$t" ]; then fail 94 "this is a folder: $1"; fi
d=${t%/*}; d=${d:-/}
if [ ! -d "$d" ]; then fail 90 "no such folder: $d"; fi
case $t in /proc/*|/sys/*|/dev/*) exec cat >"$t" ;; esac
if [ -e "$t" ] && [ ! -f "$t" ]; then exec cat >"$t"; fi
tmp=$(mktemp "$d/.pod.XXXXXX") || exit 1
trap 'rm -f "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
cat >"$tmp" || exit 1
n=$(wc -c <"$tmp") || exit 1
if [ "$n" -ne "$3" ]; then fail 97 "only $n of $3 bytes arrived"; fi
chmod "$2" "$tmp" || exit 1
if [ -e "$t" ]; then
  o=$(stat -c %u:%g "$t" 2>/dev/null)
  if [ -n "$o" ] && [ "$o" != "$(stat -c %u:%g "$tmp")" ] && ! chown "$o" "$tmp" 2>/dev/null; then
    cat "$tmp" >"$t"; exit
  fi
fi
if mv -f "$tmp" "$t" 2>/dev/null; then trap - EXIT; exit 0; fi
cat "$tmp" >"$t" && chmod "$2" "$t"
"#;

/// The plan that writes a file whole.
pub(crate) fn write_file(path: &[u8], content: Vec<u8>, mode: u32) -> Result<Plan<()>> {
    let path = checked(path)?;
    if path.ends_with(b"/") {
        return Err(Error::invalid("the path names a folder").with_context("path", PathBytes::new(path).to_string()));
    }
    let mode = format!("{:04o}", mode & 0o7777);
    let length = content.len().to_string();
    let step = script(WRITE, [path, mode.as_bytes(), length.as_bytes()]);
    Ok(Plan::new(step.with_input(Input::new(content)), |_| Ok(())))
}

/// The plan that makes a folder.
pub(crate) fn make_dir(path: &[u8], parents: bool) -> Result<Plan<()>> {
    let step = script(
        r#"if [ -d "$1" ]; then exit 0; fi
if [ -e "$1" ] || [ -L "$1" ]; then fail 91 "something that is no folder is there: $1"; fi
exec mkdir $2 "$1""#,
        [checked(path)?, if parents { b"-p" } else { b"" }],
    );
    Ok(Plan::new(step, |_| Ok(())))
}

/// The plan that removes what is at a path.
pub(crate) fn remove(path: &[u8], recursive: bool) -> Result<Plan<Removed>> {
    let mut path = checked(path)?;
    while path.len() > 1 && path.ends_with(b"/") {
        path = &path[..path.len() - 1]; // with the slash, rm would follow a link
    }
    let parts = || path.split(|b| *b == b'/');
    if parts().all(|p| p.is_empty() || p == b".") || parts().next_back().is_some_and(|p| p == b"." || p == b"..") {
        return Err(Error::invalid("that can't be removed").with_context("path", PathBytes::new(path).to_string()));
    }
    let step = script(
        r#"if [ ! -e "$1" ] && [ ! -L "$1" ]; then s absent; exit 0; fi
s removed
if [ -n "$2" ]; then exec rm -rf "$1"; fi
if [ -d "$1" ] && [ ! -L "$1" ]; then exec rmdir "$1"; fi
exec rm -f "$1""#,
        [path, if recursive { b"r" } else { b"" }],
    );
    Ok(Plan::new(step, |output| {
        let absent = Sections::of(output)?.bytes("absent").is_ok();
        Ok(if absent { Removed::AlreadyAbsent } else { Removed::Removed })
    }))
}

/// No name holds a `/`, so `//` can stand before each file's facts and before its name: no name can
/// pass for another's facts, whatever line ends it holds. Targets of links may hold anything but a zero
/// byte, so they come last, each behind its name.
const LIST: &str = r#"
has stat || fail 92 "the workload has no stat"
if [ ! -d "$1" ]; then
  if [ -e "$1" ] || [ -L "$1" ]; then fail 94 "this is no folder: $1"; fi
  fail 90 "no such folder: $1"
fi
cd "$1" || exit 1
if [ ! -r . ]; then fail 93 "no permission to read the folder: $1"; fi
s list
if has find; then find . -mindepth 1 -maxdepth 1 -exec stat -c "//$2//%n" {} +
else
  set -- "$2" ./* ./.[!.]* ./..?*
  f=$1; shift
  for n in "$@"; do if [ -e "$n" ] || [ -L "$n" ]; then stat -c "//$f//%n" "$n"; fi; done
fi
s code; echo "$?"
printf '\0links\0'
if find --version >/dev/null 2>&1; then find . -mindepth 1 -maxdepth 1 -type l -printf '%P\0%l\0'
else
  for n in ./* ./.[!.]* ./..?*; do
    if [ -L "$n" ]; then printf '%s\0' "${n#./}"; readlink -n "$n"; printf '\0'; fi
  done
fi
exit 0
"#;

/// The plan that lists a folder.
pub(crate) fn list_dir(path: &[u8]) -> Result<Plan<Vec<FileEntry>>> {
    let step: Step = script(LIST, [checked(path)?, FORMAT.as_bytes()]);
    Ok(Plan::new(step, read_list))
}

fn read_list(output: &Output) -> Result<Vec<FileEntry>> {
    let (sections, links) = Sections::with_tail(output, "links")?;
    if sections.line("code")? != "0" {
        // A file that went away meanwhile is no error; anything else is.
        let gone = |l: &str| l.ends_with(": No such file or directory");
        if !output.stderr_text().lines().all(gone) {
            check(&Output { status: ExitStatus::Exited(1), ..output.clone() })?;
        }
    }
    let mut links = links.split(|b| *b == 0);
    let mut targets = HashMap::new();
    while let (Some(name), Some(target)) = (links.next(), links.next()) {
        targets.insert(name, target);
    }
    let mut all = Vec::new();
    for record in records(sections.bytes("list")?) {
        let at = find(record, b"//").ok_or_else(|| garbled("a file has no name"))?;
        let stat = stat_line(&String::from_utf8_lossy(&record[..at]))?;
        let name = record[at + 2..].strip_prefix(b"./").ok_or_else(|| garbled("a file's name has no folder"))?;
        let target = targets.get(name).filter(|_| stat.kind == FileType::Symlink);
        all.push(FileEntry {
            name: PathBytes::new(name),
            kind: stat.kind,
            size: stat.size,
            mode: stat.mode,
            mtime: stat.mtime,
            uid: stat.uid,
            gid: stat.gid,
            target: target.map(|t| PathBytes::new(*t)),
        });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The records of the list, without the `//` before and the line end behind each.
fn records(list: &[u8]) -> Vec<&[u8]> {
    let Some(mut rest) = list.strip_prefix(b"//") else { return Vec::new() };
    let mut all = Vec::new();
    while let Some(at) = find(rest, b"\n//") {
        all.push(&rest[..at]);
        rest = &rest[at + 3..];
    }
    all.push(rest.strip_suffix(b"\n").unwrap_or(rest));
    all
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
