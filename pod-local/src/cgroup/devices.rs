//! The devices a workload may open: those that every container has (runtime-spec, config-linux.md,
//! "Default Devices"), and its terminals. In version 1 the controller `devices` takes the rules; in
//! version 2 a BPF program of the type `cgroup_device` is the rule (cgroup-v2.rst, "Device controller").

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Character devices by major and minor number, or all of a major.
const ALLOWED: [(u32, Option<u32>); 10] = [
    (1, Some(3)),    // null
    (1, Some(5)),    // zero
    (1, Some(7)),    // full
    (1, Some(8)),    // random
    (1, Some(9)),    // urandom
    (5, Some(0)),    // tty
    (5, Some(1)),    // console
    (5, Some(2)),    // ptmx
    (10, Some(200)), // net/tun, of no use without CAP_NET_ADMIN
    (136, None),     // pts/*
];

/// The rules as version 1's `devices.allow` takes them. Any device file may be made, as an archive that
/// is unpacked wants it; opening it is another thing.
pub(super) fn rules() -> impl Iterator<Item = String> {
    let made = ["c *:* m", "b *:* m"].into_iter().map(str::to_owned);
    made.chain(ALLOWED.iter().map(|(major, minor)| match minor {
        Some(minor) => format!("c {major}:{minor} rwm"),
        None => format!("c {major}:* rwm"),
    }))
}

/// One instruction (`struct bpf_insn`, linux/bpf.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// The destination in the low half, the source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// `r[to] = *(u32 *)(r1 + offset)`
const fn load(to: u8, offset: i16) -> Instruction {
    Instruction { code: 0x61, registers: to | (1 << 4), offset, immediate: 0 }
}

/// `r[to] OP= value`, 64 bits wide.
const fn alu(op: u8, to: u8, value: i32) -> Instruction {
    Instruction { code: 0x07 | op, registers: to, offset: 0, immediate: value }
}

/// `if r[of] != value, skip so many instructions`
const fn unless(of: u8, value: i32, skip: i16) -> Instruction {
    Instruction { code: 0x55, registers: of, offset: skip, immediate: value }
}

const AND: u8 = 0x50;
const SHIFT_RIGHT: u8 = 0x70;
const MOVE: u8 = 0xb0;
const EXIT: Instruction = Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 };

/// `return value`
const fn answer(value: i32) -> [Instruction; 2] {
    [alu(MOVE, 0, value), EXIT]
}

/// The rules as a program over `struct bpf_cgroup_dev_ctx`: what is wanted (1 make, 2 read, 4 write) in
/// the upper half of its first word, the kind (1 block, 2 character) in the lower; major; minor.
fn program() -> Vec<Instruction> {
    let mut all = vec![load(2, 0), load(3, 0), alu(AND, 2, 0xffff), alu(SHIFT_RIGHT, 3, 16), load(4, 4), load(5, 8)];
    all.push(unless(3, 1, 2));
    all.extend(answer(1));
    all.push(unless(2, 2, 0)); // the skip is set below, over all that follows for character devices
    let kind = all.len() - 1;
    for (major, minor) in ALLOWED {
        match minor {
            Some(minor) => all.extend([unless(4, major as i32, 3), unless(5, minor as i32, 2)]),
            None => all.push(unless(4, major as i32, 2)),
        }
        all.extend(answer(1));
    }
    all[kind].offset = (all.len() - kind - 1) as i16;
    all.extend(answer(0));
    all
}

/// `union bpf_attr` of BPF_PROG_LOAD, its first fields; the kernel takes what is missing for 0.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 2],
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// `union bpf_attr` of BPF_PROG_ATTACH.
#[repr(C)]
struct Attach {
    group: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

fn bpf<T>(command: c_long, attributes: &T) -> io::Result<c_long> {
    // SAFETY: bpf(2) reads a struct of the size given; the pointers in it are of memory that the caller
    // holds, with the lengths it says.
    #[allow(unsafe_code)]
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

/// Lets the rules decide for a version 2 group and all below it. They go with the group.
pub(super) fn attach(group: &OwnedFd) -> io::Result<()> {
    const PROG_LOAD: c_long = 5;
    const PROG_ATTACH: c_long = 8;
    const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2; // a group above may have rules too
    let program = program();
    let loaded = bpf(
        PROG_LOAD,
        &Load {
            kind: PROG_TYPE_CGROUP_DEVICE,
            count: program.len() as u32,
            instructions: program.as_ptr() as u64,
            license: c"Apache-2.0".as_ptr() as u64,
            log: [0; 2],
            log_buffer: 0,
            kernel_version: 0,
            flags: 0,
        },
    )?;
    // SAFETY: BPF_PROG_LOAD gave a descriptor that nobody else has.
    #[allow(unsafe_code)]
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded as i32) };
    let attributes = Attach {
        group: group.as_raw_fd() as u32,
        program: loaded.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &attributes).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program on a request, as the kernel would.
    fn run(wanted: u32, kind: u32, major: u32, minor: u32) -> i64 {
        let words = [wanted << 16 | kind, major, minor];
        let (mut registers, mut at, program) = ([0i64; 11], 0usize, program());
        for _ in 0..program.len() {
            let i = program[at];
            let to = usize::from(i.registers & 15);
            at += 1;
            match i.code {
                0x61 => registers[to] = i64::from(words[i.offset as usize / 4]),
                0x57 => registers[to] &= i64::from(i.immediate),
                0x77 => registers[to] >>= i.immediate,
                0xb7 => registers[to] = i64::from(i.immediate),
                0x55 if registers[to] != i64::from(i.immediate) => at += i.offset as usize,
                0x55 => {}
                0x95 => return registers[0],
                other => panic!("{other:#x}"),
            }
        }
        panic!("no end");
    }

    #[test]
    fn the_program_says_what_the_rules_say() {
        for (major, minor) in ALLOWED {
            assert_eq!(run(6, 2, major, minor.unwrap_or(77)), 1, "{major}");
            assert_eq!(run(6, 1, major, minor.unwrap_or(77)), 0, "the block device {major}");
        }
        for (kind, major, minor) in [(2, 1, 1), (2, 1, 4), (2, 10, 1), (1, 8, 0), (1, 259, 0), (2, 0, 0)] {
            assert_eq!(run(2, kind, major, minor), 0, "read {kind} {major}:{minor}");
            assert_eq!(run(4, kind, major, minor), 0, "write {kind} {major}:{minor}");
            assert_eq!(run(1, kind, major, minor), 1, "make {kind} {major}:{minor}");
            assert_eq!(run(3, kind, major, minor), 0, "make and read {kind} {major}:{minor}");
        }
        assert_eq!(rules().count(), ALLOWED.len() + 2);
    }
}
