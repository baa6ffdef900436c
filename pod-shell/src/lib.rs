//! What backends do by a workload's own shell, where the platform has no call for it: Docker and Kubernetes
//! neither signal nor kill what an exec runs, nor tell how it ended while a child holds its output, nor
//! compare what was copied.
//!
//! The scripts keep to what dash, bash and BusyBox have in common (POSIX.1-2017, "Shell Command Language").

mod manifest;
mod marks;
mod signal;

pub use manifest::Manifest;
pub use marks::{Mark, Scanner};
pub use signal::{NO_PROC, NOT_ALLOWED, signal};

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
