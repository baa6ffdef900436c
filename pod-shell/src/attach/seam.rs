//! Where what is attached to begins in the log.
//!
//! The log mixes stdout and stderr by lines and drops a carriage return before a line's end; what is
//! attached to begins anywhere, also within a line, and either may be ahead of the other. So they are laid
//! side by side: the log from some line on has to be the lines of both streams from their beginning, each
//! in its order.

/// So many bytes that are the same are no accident.
const ENOUGH: usize = 4096;
/// The beginning of a line that has not ended, by which it is found within a longer one.
const NEEDLE: usize = 1024;
/// The most lines that are compared at once: what repeats itself has many places that nearly fit.
const WORK: usize = 100_000;

/// Where the log's lines begin to be the streams'.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seam {
    /// The bytes of the log that were printed before.
    pub(super) before: usize,
    /// What each stream had printed of a line that was then begun.
    pub(super) heads: [Vec<u8>; 2],
    /// Both are at the same place now: the log holds all that the streams brought, and no more.
    pub(super) even: bool,
    /// It can't be another place.
    pub(super) sure: bool,
}

/// One way to lay them side by side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Way {
    /// Lines of each stream that were found.
    used: [usize; 2],
    heads: [Vec<u8>; 2],
}

/// As the log has it: no carriage return before a line's end.
pub(super) fn plain(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    for (at, byte) in text.iter().enumerate() {
        let dropped = *byte == b'\r' && text.get(at + 1).is_none_or(|next| *next == b'\n');
        if !dropped {
            plain.push(*byte);
        }
    }
    plain
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|b| *b == b'\n').collect()
}

/// Finds the first place from which the log is what stdout and stderr brought, as far as both have come;
/// `None` when there is none.
pub(super) fn find(log: &[u8], live: [&[u8]; 2]) -> Option<Seam> {
    let live = live.map(plain);
    let brought: usize = live.iter().map(Vec::len).sum();
    if brought == 0 {
        return None;
    }
    let live = [lines(&live[0]), lines(&live[1])];
    let (mut before, mut work) = (0, 0);
    let log = lines(log);
    let plain: Vec<_> = log.iter().map(|line| plain(line)).collect();
    for (at, line) in log.iter().enumerate() {
        if let Some((way, same, ahead)) = lay(&plain[at..], &live, &mut work) {
            let even = !ahead && same == brought;
            let whole = way.heads.iter().all(Vec::is_empty);
            return Some(Seam { before, heads: way.heads, even, sure: (even && whole) || same >= ENOUGH });
        }
        if work > WORK {
            return None;
        }
        before += line.len();
    }
    None
}

/// Lays the log from here on beside the streams: how, how many bytes of theirs are in it, and whether the
/// log is ahead.
fn lay(log: &[Vec<u8>], live: &[Vec<&[u8]>; 2], work: &mut usize) -> Option<(Way, usize, bool)> {
    let mut ways = vec![Way::default()];
    for (at, line) in log.iter().enumerate() {
        let mut next: Vec<Way> = Vec::new();
        for way in &ways {
            *work += 1;
            for (stream, brought) in live.iter().enumerate() {
                let used = way.used[stream];
                let Some(brought) = brought.get(used) else { continue };
                let Some(head) = continues(line, brought, used == 0) else { continue };
                let mut way = way.clone();
                way.used[stream] += 1;
                if used == 0 {
                    way.heads[stream] = line[..head].to_vec();
                }
                if !next.iter().any(|w| w.used == way.used) {
                    next.push(way);
                }
            }
        }
        if next.is_empty() {
            // The log may be ahead, once all that was brought is in it.
            let way = ways.into_iter().find(|w| at > 0 && w.used == [live[0].len(), live[1].len()])?;
            let same = same(&way, &log[..at]);
            return Some((way, same, true));
        }
        ways = next;
    }
    let all = ways.iter().position(|w| w.used == [live[0].len(), live[1].len()]);
    let way = ways.swap_remove(all.unwrap_or(0));
    let same = same(&way, log);
    Some((way, same, false))
}

fn same(way: &Way, log: &[Vec<u8>]) -> usize {
    let heads: usize = way.heads.iter().map(Vec::len).sum();
    log.iter().map(Vec::len).sum::<usize>() - heads
}

/// Whether a line of the log may be this line of a stream, and where in it that one begins: the first line
/// of a stream may be the rest of one. The last of either may not be whole yet.
fn continues(line: &[u8], brought: &[u8], first: bool) -> Option<usize> {
    let whole = |text: &[u8]| text.last() == Some(&b'\n');
    let fits = |line: &[u8]| match (whole(line), whole(brought)) {
        (true, true) => line == brought,
        (false, true) => brought.starts_with(line),
        (true, false) => line.starts_with(brought),
        (false, false) => line.starts_with(brought) || brought.starts_with(line),
    };
    if fits(line) {
        return Some(0);
    }
    if !first {
        return None;
    }
    if whole(line) && whole(brought) {
        return line.ends_with(brought).then(|| line.len() - brought.len());
    }
    let needle = brought.get(..NEEDLE)?;
    line.windows(NEEDLE).position(|w| w == needle).filter(|at| fits(&line[*at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(log: &str, out: &str, err: &str) -> Option<Seam> {
        find(log.as_bytes(), [out.as_bytes(), err.as_bytes()])
    }

    fn seam(before: usize, out: &str, even: bool, sure: bool) -> Option<Seam> {
        Some(Seam { before, heads: [out.into(), Vec::new()], even, sure })
    }

    #[test]
    fn what_was_printed_before_ends_where_the_streams_begin() {
        assert_eq!(found("one\ntwo\n", "two\n", ""), seam(4, "", true, true));
        assert_eq!(found("one\ntwo\n", "one\ntwo\n", ""), seam(0, "", true, true));
        assert_eq!(found("one\n", "two\n", ""), None, "the log is behind");
        assert_eq!(found("", "two\n", ""), None);
        assert_eq!(found("one\n", "", ""), None);
        assert_eq!(found("one\ntwo", "two", ""), seam(4, "", true, true), "no end of a line");
    }

    #[test]
    fn either_may_be_ahead() {
        assert_eq!(found("one\ntwo\n", "two\nthree\n", ""), seam(4, "", false, false));
        assert_eq!(found("one\ntwo\nthree\n", "two\n", ""), seam(4, "", false, false));
        assert_eq!(found("one\ntwo\nthr", "two\nthree\n", ""), seam(4, "", false, false));
        let long: String = (0..2000).map(|n| format!("line {n}\n")).collect();
        let some = long.find("line 100\n").expect("it is there");
        assert_eq!(found(&long, &long[some..long.len() - 500], ""), seam(some, "", false, true));
    }

    #[test]
    fn a_line_that_was_begun_is_made_whole() {
        assert_eq!(found("name? Bob\n", "Bob\n", ""), seam(0, "name? ", true, false));
        let zeros = "0".repeat(9000);
        assert_eq!(found(&format!("a\nhead{zeros}"), &zeros, ""), seam(2, "head", true, true));
        assert_eq!(found(&format!("a\nhead{zeros}"), &format!("{zeros}00"), ""), seam(2, "head", false, true));
        assert_eq!(found("ahead", "head", ""), None, "too little to know");
    }

    #[test]
    fn both_streams_are_in_it_each_in_its_order() {
        assert_eq!(found("a\nb\nc\nd\n", "b\nd\n", "c\n"), seam(2, "", true, true));
        assert_eq!(found("x\nx\ny\n", "x\ny\n", "x\n"), seam(0, "", true, true), "which of them it was shows later");
        assert_eq!(found("a\nd\nb\n", "b\nd\n", ""), seam(4, "", false, false), "the order is not the streams'");
        let both = Seam { before: 0, heads: [b"o".to_vec(), b"e".to_vec()], even: true, sure: false };
        assert_eq!(found("eerr\noout\n", "out\n", "err\n"), Some(both));
    }

    #[test]
    fn carriage_returns_before_line_ends_do_not_count() {
        assert_eq!(plain(b"a\r\nb\rc\r\r\nd\r"), b"a\nb\rc\r\nd");
        assert_eq!(found("one\ntwo\n", "two\r\n", ""), seam(4, "", true, true));
        assert_eq!(found("one\r\ntwo\r\n", "two\r\n", ""), seam(5, "", true, true), "some logs keep them");
    }
}
