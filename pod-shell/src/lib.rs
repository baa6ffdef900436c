//! What backends do by a workload's own shell, where the platform has no call for it: Docker and Kubernetes
//! neither signal nor kill what an exec runs, nor tell how it ended while a child holds its output, nor
//! copy to every place that a program in the workload sees, nor let go of a command's stdin and end it later.
//!
//! The scripts keep to what dash, bash and BusyBox have in common (POSIX.1-2017, "Shell Command Language").

pub mod attach;
pub mod copy;
mod inside;
mod keep;
mod manifest;
mod marks;
pub mod pipe;
mod probe;
mod signal;

pub use inside::{Comparison, about, list};
pub use keep::{AGAIN, Kept, STATUS, keep};
pub use manifest::Manifest;
pub use marks::{Mark, Marks, Scanner};
pub use probe::Pinger;
pub use signal::{search, signal, signalled};

/// Text as a script takes it back by `printf %b` (printf(1p)): printable text stays, the rest is octal, four
/// digits, for what follows may be a digit, too.
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' '..=b'[' | b']'..=b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\0{other:03o}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_bytes_become_text() {
        assert_eq!(super::escaped(b"a b\\7\n\xff"), "a b\\01347\\0012\\0377");
    }
}
