//! Disks, memory and processors from `/proc`, `stat -f` and the cgroup's files.

use crate::os::PathBytes;
use crate::os::plan::Plan;
use crate::os::resources::{Cpu, Disk, Memory};
use crate::os::script::{NONE, Sections, garbled, script};
use crate::{Error, Output, Result};

/// File systems of the kernel that hold no data of the user's.
const PSEUDO: &[&str] = &[
    "proc",
    "devtmpfs",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "mqueue",
    "debugfs",
    "tracefs",
    "securityfs",
    "pstore",
    "bpf",
    "configfs",
    "fusectl",
    "hugetlbfs",
    "autofs",
    "binfmt_misc",
    "rpc_pipefs",
    "nsfs",
    "efivarfs",
    "selinuxfs",
    "fuse.portal",
    "fuse.lxcfs",
    "binder",
    "sockfs",
    "pipefs",
];

/// For each mount of data: `stat -f`, then the line of the mount table, which has white space and
/// backslashes in octal; `printf %b` undoes that. A mount that can't be looked at prints nothing but
/// its line. What hides a file, or a part of `/proc` and `/sys`, is no disk: containers have many.
const DISKS: &str = r#"
p=" $1 "
[ -r /proc/self/mounts ] || fail 92 "/proc/self/mounts is not there, so the disks can't be read"
while read -r src dir kind opts rest; do
  case $p in *" $kind "*) continue ;; esac
  case $dir in /proc/*|/sys/*) continue ;; esac
  real=$(printf '%bx' "$dir"); real=${real%x}
  if [ ! -d "$real" ]; then continue; fi
  printf 'mount %s %s %s %s\n' "$src" "$dir" "$kind" "$opts"
  stat -f -c 'stat %S %b %f %a %c %d' -- "$real" 2>/dev/null
done </proc/self/mounts
exit 0
"#;

/// The plan that reads the disks; both GNU's and BusyBox's `stat` take `-f -c`.
pub(crate) fn disks() -> Plan<Vec<Disk>> {
    Plan::new(script(DISKS, [PSEUDO.join(" ")]), read_disks)
}

fn read_disks(output: &Output) -> Result<Vec<Disk>> {
    let mut all: Vec<Disk> = Vec::new();
    let mut mount: Option<Disk> = None;
    for line in output.stdout.split(|b| *b == b'\n') {
        let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        match words[..] {
            [b"mount", source, dir, kind, options] => {
                mount = Some(Disk {
                    mount: PathBytes::new(unescape(dir)),
                    source: PathBytes::new(unescape(source)),
                    file_system: String::from_utf8_lossy(kind).into_owned(),
                    total: 0,
                    used: 0,
                    available: 0,
                    files: 0,
                    files_free: 0,
                    read_only: options.split(|b| *b == b',').any(|o| o == b"ro"),
                });
            }
            [b"stat", ref numbers @ ..] => {
                let Some(mut disk) = mount.take() else { return Err(garbled("a disk has no mount")) };
                let number = |at: usize| {
                    let word = numbers.get(at).and_then(|n| std::str::from_utf8(n).ok()).unwrap_or_default();
                    word.parse::<u64>().map_err(|e| garbled("stat printed no number").with_source(e))
                };
                let (size, blocks) = (number(0)?, number(1)?);
                let bytes = |blocks: u64| blocks.saturating_mul(size);
                disk.total = bytes(blocks);
                disk.used = bytes(blocks.saturating_sub(number(2)?));
                disk.available = bytes(number(3)?);
                (disk.files, disk.files_free) = (number(4)?, number(5)?);
                // Of several mounts at one place the last hides the others.
                all.retain(|d| d.mount != disk.mount);
                all.push(disk);
            }
            _ => {}
        }
    }
    // Those without a single block are the kernel's own, of a kind not listed above.
    all.retain(|d| d.total > 0);
    all.sort_by(|a, b| a.mount.cmp(&b.mount));
    Ok(all)
}

/// Undoes the octal escapes of the mount table.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        if *first == b'\\'
            && let Some(digits) = after.get(..3)
            && let Some(byte) = std::str::from_utf8(digits).ok().and_then(|d| u8::from_str_radix(d, 8).ok())
        {
            out.push(byte);
            rest = &after[3..];
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

/// Prints a file of each cgroup (v2) from this program's own up to the topmost that is seen: a limit
/// may be set on any of them. `FILE [FILE]` on one line, `-` for one that is not there.
const CGROUP: &str = r#"
own=$(while IFS=: read -r n c p; do case $n:$c in 0:) printf '%s\n' "$p" ;; esac; done 2>/dev/null </proc/self/cgroup)
one() { v=-; { read -r v <"$1"; } 2>/dev/null; printf '%s ' "${v:--}"; }
each() {
  p=${own%/}
  while :; do
    for f in "$@"; do one "/sys/fs/cgroup$p/$f"; done; echo
    case $p in */*) p=${p%/*} ;; *) break ;; esac
  done
}
"#;

const MEMORY: &str = r#"
s info; cat /proc/meminfo || fail 92 "/proc/meminfo is not there"
s v2; each memory.max memory.current
s v1; one /sys/fs/cgroup/memory/memory.limit_in_bytes; one /sys/fs/cgroup/memory/memory.usage_in_bytes
exit 0
"#;

/// The plan that reads the memory.
pub(crate) fn memory() -> Plan<Memory> {
    Plan::new(script(&format!("{CGROUP}{MEMORY}"), NONE), read_memory)
}

fn read_memory(output: &Output) -> Result<Memory> {
    let sections = Sections::of(output)?;
    let info = sections.text("info")?;
    // `MemTotal:  1024 kB`, proc_meminfo(5); a kB there is 1,024 bytes.
    let field = |key: &str| {
        let value = info.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
        value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let need = |key: &str| field(key).ok_or_else(|| garbled("meminfo lacks a field").with_context("field", key));
    let (total, free, cached) = (need("MemTotal")?, need("MemFree")?, field("Cached").unwrap_or(0));
    // Pairs of limit and use; v1 writes "no limit" as the largest page-aligned number.
    let groups = format!("{}\n{}", sections.text("v2")?, sections.text("v1")?);
    let mut tightest: Option<(u64, Option<u64>)> = None;
    let mut topmost = None;
    for line in groups.lines() {
        let mut words = line.split_whitespace().map(|w| w.parse::<u64>().ok());
        let (limit, used) = (words.next().flatten(), words.next().flatten());
        topmost = used.or(topmost);
        if let Some(limit) = limit.filter(|l| *l < 1 << 60)
            && tightest.is_none_or(|(l, _)| limit < l)
        {
            tightest = Some((limit, used));
        }
    }
    Ok(Memory {
        total,
        // Before Linux 3.14 there was no such field.
        available: field("MemAvailable").unwrap_or(free + cached),
        free,
        cached,
        swap_total: field("SwapTotal").unwrap_or(0),
        swap_free: field("SwapFree").unwrap_or(0),
        limit: tightest.map(|(limit, _)| limit),
        used: tightest.map_or(topmost, |(_, used)| used),
    })
}

const CPU: &str = r#"
s info; cat /proc/cpuinfo 2>/dev/null
s online; cat /sys/devices/system/cpu/online 2>/dev/null
s stat; grep -c '^cpu[0-9]' /proc/stat 2>/dev/null
s v2; each cpu.max
s v1; one /sys/fs/cgroup/cpu/cpu.cfs_quota_us; one /sys/fs/cgroup/cpu/cpu.cfs_period_us
exit 0
"#;

/// The plan that reads the processors.
pub(crate) fn cpu() -> Plan<Cpu> {
    Plan::new(script(&format!("{CGROUP}{CPU}"), NONE), read_cpu)
}

fn read_cpu(output: &Output) -> Result<Cpu> {
    let sections = Sections::of(output)?;
    let info = sections.text("info")?;
    let pairs = || info.lines().filter_map(|l| l.split_once(':')).map(|(k, v)| (k.trim(), v.trim()));
    // Names differ by architecture: x86 `model name`, ARM `Hardware` or `Model`, POWER `cpu`.
    let model = ["model name", "Model", "cpu", "Hardware", "uarch", "vendor_id"]
        .iter()
        .find_map(|key| pairs().find(|(k, v)| k == key && !v.is_empty()))
        .map_or_else(String::new, |(_, v)| v.to_owned());
    let listed = pairs().filter(|(k, _)| *k == "processor").count();
    let count = [online(&sections.line("online")?), sections.line("stat")?.parse().ok(), u32::try_from(listed).ok()];
    let unknown =
        || Error::unsupported("neither /proc nor /sys shows a processor").with_hint("mount proc in the workload");
    let count = count.into_iter().flatten().find(|n| *n > 0).ok_or_else(unknown)?;
    let groups = format!("{}\n{}", sections.text("v2")?, sections.text("v1")?);
    let limits = groups.lines().filter_map(|l| {
        let (quota, period) = l.trim().split_once(' ')?;
        let (quota, period) = (quota.parse::<f64>().ok()?, period.trim().parse::<f64>().ok()?);
        (quota > 0.0 && period > 0.0).then_some(quota / period)
    });
    let limit = limits.reduce(f64::min);
    Ok(Cpu { count, model, limit })
}

/// Counts a list such as `0-3,5`.
fn online(list: &str) -> Option<u32> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.parse::<u32>().ok()?, to.parse::<u32>().ok()?);
        to.checked_sub(from)?.checked_add(1)
    };
    list.split(',').map(range).try_fold(0u32, |sum, n| sum.checked_add(n?))
}
