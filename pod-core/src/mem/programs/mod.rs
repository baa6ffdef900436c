//! The built-in programs. Each does what its namesake of POSIX or Linux does with the options named
//! here, and fails on any other: nothing is passed over.

mod files;
pub(super) mod process;
mod system;
mod text;

use super::program::{Program, ProgramContext, Programs};
use crate::ExitStatus;

/// Makes the built-in programs known.
pub(super) fn register(programs: &Programs) {
    text::register(programs);
    files::register(programs);
    process::register(programs);
    system::register(programs);
}

pub(super) const OK: ExitStatus = ExitStatus::Exited(0);

pub(super) fn add<F, Fut>(programs: &Programs, name: &str, program: F)
where
    F: Fn(ProgramContext) -> Fut + Send + Sync + 'static,
    Fut: std::future::Future<Output = ExitStatus> + Send + 'static,
{
    programs.insert(name, Program::new(program));
}

/// How a program ends whose output failed: silently on a broken pipe, as SIGPIPE would.
async fn output_failed(cx: &mut ProgramContext, e: &std::io::Error) -> ExitStatus {
    match e.kind() {
        std::io::ErrorKind::BrokenPipe => ExitStatus::Signaled(13),
        _ => cx.fail(1, format!("write error: {e}")).await,
    }
}

/// Prints, and ends.
async fn print(mut cx: ProgramContext, bytes: impl AsRef<[u8]> + Send) -> ExitStatus {
    match cx.print(bytes).await {
        Ok(()) => OK,
        Err(e) => output_failed(&mut cx, &e).await,
    }
}

/// Options with their values, and operands.
type Parsed = (Vec<(char, Vec<u8>)>, Vec<Vec<u8>>);

/// Splits leading options from operands: `-abc` is three, `--` ends them. Options in `with_value` take
/// the rest of the word or the next one.
pub(super) fn options(args: &[Vec<u8>], flags: &str, with_value: &str) -> Result<Parsed, String> {
    let mut found = Vec::new();
    let mut rest = args.iter();
    let mut operands = Vec::new();
    while let Some(arg) = rest.next() {
        if arg == b"--" {
            operands.extend(rest.cloned());
            break;
        }
        if arg.len() < 2 || arg[0] != b'-' || !operands.is_empty() {
            operands.push(arg.clone());
            continue;
        }
        for (i, c) in arg.iter().enumerate().skip(1) {
            let c = char::from(*c);
            if flags.contains(c) {
                found.push((c, Vec::new()));
            } else if with_value.contains(c) {
                let value = if i + 1 < arg.len() {
                    arg[i + 1..].to_vec()
                } else {
                    rest.next().cloned().ok_or_else(|| format!("option '-{c}' needs a value"))?
                };
                found.push((c, value));
                break;
            } else {
                return Err(format!("this simulated program has no option '-{c}'"));
            }
        }
    }
    Ok((found, operands))
}
