//! Programs that print and filter.

use super::{OK, add, options, output_failed, print};
use crate::ExitStatus;
use crate::mem::program::{ProgramContext, Programs};
use sha2::Digest;
use std::fmt::Write as _;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(super) fn register(programs: &Programs) {
    add(programs, "echo", echo);
    add(programs, "printf", printf);
    add(programs, "cat", cat);
    add(programs, "head", head);
    add(programs, "tail", tail);
    add(programs, "wc", wc);
    add(programs, "seq", seq);
    add(programs, "yes", yes);
    add(programs, "tee", tee);
    add(programs, "tr", tr);
    add(programs, "sha256sum", sha256sum);
}

/// `echo [-n] WORD…`
async fn echo(cx: ProgramContext) -> ExitStatus {
    let mut words = &cx.argv()[1..];
    let newline = words.first().is_none_or(|w| w != b"-n");
    if !newline {
        words = &words[1..];
    }
    let mut line = words.join(&b' ');
    if newline {
        line.push(b'\n');
    }
    print(cx, line).await
}

/// Backslash escapes of printf(1).
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&c, tail)) = rest.split_first() {
        rest = tail;
        if c != b'\\' {
            out.push(c);
            continue;
        }
        let Some((&escape, tail)) = rest.split_first() else {
            out.push(b'\\');
            break;
        };
        let digits = rest.iter().take(3).take_while(|b| (b'0'..=b'7').contains(*b)).count();
        if digits > 0 {
            let value = rest[..digits].iter().fold(0u32, |v, d| v * 8 + u32::from(d - b'0'));
            out.push((value & 0xff) as u8);
            rest = &rest[digits..];
            continue;
        }
        rest = tail;
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let digits = rest.iter().take(2).take_while(|b| b.is_ascii_hexdigit()).count();
                let value = std::str::from_utf8(&rest[..digits]).ok().and_then(|d| u8::from_str_radix(d, 16).ok());
                match value {
                    Some(value) => out.push(value),
                    None => out.extend(b"\\x"),
                }
                rest = &rest[digits..];
            }
            other => out.extend([b'\\', other]),
        }
    }
    out
}

/// `printf FORMAT ARGUMENT…` with `%s %b %d %i %u %x %o %c %%`, each with an optional width.
async fn printf(mut cx: ProgramContext) -> ExitStatus {
    let Some(format) = cx.argv().get(1).cloned() else {
        return cx.fail(2, "no format was given").await;
    };
    let args: Vec<Vec<u8>> = cx.argv()[2..].to_vec();
    match format_all(&format, &args) {
        Ok(out) => print(cx, out).await,
        Err(why) => cx.fail(1, why).await,
    }
}

fn format_all(format: &[u8], args: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    let mut args = args.iter().peekable();
    let mut out = Vec::new();
    loop {
        let mut used = false;
        let mut rest = format;
        while let Some(at) = rest.iter().position(|b| *b == b'%') {
            out.extend(unescape(&rest[..at]));
            rest = &rest[at + 1..];
            let flags = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'-').count();
            let width = String::from_utf8_lossy(&rest[..flags]).into_owned();
            let Some(kind) = rest.get(flags) else { return Err("the format ends in a '%'".into()) };
            rest = &rest[flags + 1..];
            if *kind == b'%' {
                out.push(b'%');
                continue;
            }
            used = true;
            let arg = args.next().map(Vec::as_slice).unwrap_or_default();
            let number = || -> Result<i64, String> {
                let text = String::from_utf8_lossy(arg);
                if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| format!("{text:?} is no number")) }
            };
            let text = match kind {
                b's' => arg.to_vec(),
                b'b' => unescape(arg),
                b'c' => arg.iter().take(1).copied().collect(),
                b'd' | b'i' | b'u' => number()?.to_string().into_bytes(),
                b'x' => format!("{:x}", number()?).into_bytes(),
                b'o' => format!("{:o}", number()?).into_bytes(),
                other => return Err(format!("this simulated printf has no '%{}'", char::from(*other))),
            };
            let left = width.starts_with('-');
            let digits = width.trim_start_matches('-');
            let wanted: usize = digits.parse().unwrap_or(0);
            let fill = wanted.saturating_sub(text.len());
            let zero = digits.starts_with('0') && !left && *kind != b's';
            if left {
                out.extend(text);
                out.extend(std::iter::repeat_n(b' ', fill));
            } else {
                out.extend(std::iter::repeat_n(if zero { b'0' } else { b' ' }, fill));
                out.extend(text);
            }
        }
        out.extend(unescape(rest));
        if !used || args.peek().is_none() {
            return Ok(out);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Copies part of each operand, or of stdin, to stdout.
async fn pour_all(cx: &mut ProgramContext, operands: &[Vec<u8>], limit: u64) -> ExitStatus {
    let stdin = [b"-".to_vec()];
    let operands = if operands.is_empty() { &stdin[..] } else { operands };
    let mut code = 0;
    for path in operands {
        let input = match cx.open_input(path) {
            Ok(input) => input,
            Err(e) => {
                cx.fail(1, format!("{}: {}", text(path), e.text())).await;
                code = 1;
                continue;
            }
        };
        match cx.pour(input, limit).await {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::IsADirectory) => {
                cx.fail(1, format!("{}: {e}", text(path))).await;
                code = 1;
            }
            Err(e) => return output_failed(cx, &e).await,
        }
    }
    ExitStatus::Exited(code)
}

/// `cat [FILE…]`
async fn cat(mut cx: ProgramContext) -> ExitStatus {
    match options(&cx.argv()[1..], "u", "") {
        Ok((_, operands)) => pour_all(&mut cx, &operands, u64::MAX).await,
        Err(why) => cx.fail(2, why).await,
    }
}

/// `head [-c BYTES | -n LINES] [FILE…]`; sizes may end in `K`, `M` or `G`.
async fn head(mut cx: ProgramContext) -> ExitStatus {
    let (found, operands) = match options(&cx.argv()[1..], "", "cn") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(2, why).await,
    };
    let (unit, count) = found.last().map_or(('n', "10".into()), |(c, v)| (*c, text(v)));
    let Ok(count) = crate::size::parse(&count) else {
        return cx.fail(2, format!("{count:?} is no number")).await;
    };
    if unit == 'c' {
        return pour_all(&mut cx, &operands, count).await;
    }
    let mut input = match operands.first().map(|p| cx.open_input(p)).transpose() {
        Ok(input) => input.unwrap_or_else(|| cx.stdin.clone()),
        Err(e) => return cx.fail(1, e.text()).await,
    };
    let mut left = count;
    let mut buf = vec![0; 4096];
    while left > 0 {
        let n = match input.read(&mut buf).await {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) => return cx.fail(1, e).await,
        };
        let mut end = 0;
        for line in buf[..n].split_inclusive(|b| *b == b'\n') {
            if left == 0 {
                break;
            }
            end += line.len();
            left -= u64::from(line.ends_with(b"\n"));
        }
        if let Err(e) = cx.stdout.write_all(&buf[..end]).await {
            return output_failed(&mut cx, &e).await;
        }
    }
    OK
}

/// Reads all of a file or stdin, and holds the memory it takes.
async fn slurp(cx: &ProgramContext, path: Option<&Vec<u8>>) -> Result<Vec<u8>, String> {
    let mut input = match path {
        None => cx.stdin.clone(),
        Some(path) => cx.open_input(path).map_err(|e| format!("{}: {}", text(path), e.text()))?,
    };
    let mut all = Vec::new();
    let mut buf = vec![0; 64 << 10];
    loop {
        match input.read(&mut buf).await {
            Ok(0) => return Ok(all),
            Ok(n) => {
                cx.allocate(n as u64);
                all.extend_from_slice(&buf[..n]);
                cx.checkpoint().await;
            }
            Err(e) => return Err(e.to_string()),
        }
    }
}

/// `tail [-c BYTES | -n LINES] [FILE]`; it holds all it reads.
async fn tail(mut cx: ProgramContext) -> ExitStatus {
    let (found, operands) = match options(&cx.argv()[1..], "", "cn") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(2, why).await,
    };
    let all = match slurp(&cx, operands.first()).await {
        Ok(all) => all,
        Err(why) => return cx.fail(1, why).await,
    };
    let (unit, count) = found.last().map_or(('n', "10".into()), |(c, v)| (*c, text(v)));
    let from_start = count.starts_with('+');
    let Some(count) = crate::size::parse(count.trim_start_matches('+')).ok().and_then(|n| usize::try_from(n).ok())
    else {
        return cx.fail(2, format!("{count:?} is no number")).await;
    };
    let mut ends: Vec<usize> = match unit {
        'c' => (1..=all.len()).collect(),
        _ => all.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect(),
    };
    if unit == 'n' && !all.is_empty() && ends.last() != Some(&all.len()) {
        ends.push(all.len());
    }
    let skip = if from_start { count.saturating_sub(1) } else { ends.len().saturating_sub(count) };
    let begin = skip.checked_sub(1).map_or(0, |i| ends.get(i).copied().unwrap_or(all.len()));
    let out = all[begin..].to_vec();
    print(cx, out).await
}

/// `wc [-l] [-w] [-c] [FILE]`
async fn wc(mut cx: ProgramContext) -> ExitStatus {
    let (found, operands) = match options(&cx.argv()[1..], "lwc", "") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(2, why).await,
    };
    let mut input = match operands.first().map(|p| cx.open_input(p)).transpose() {
        Ok(input) => input.unwrap_or_else(|| cx.stdin.clone()),
        Err(e) => return cx.fail(1, e.text()).await,
    };
    let (mut lines, mut words, mut bytes, mut in_word) = (0u64, 0u64, 0u64, false);
    let mut buf = vec![0; 64 << 10];
    loop {
        let n = match input.read(&mut buf).await {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) => return cx.fail(1, e).await,
        };
        bytes += n as u64;
        if found.is_empty() || found.iter().any(|(c, _)| *c != 'c') {
            for b in &buf[..n] {
                lines += u64::from(*b == b'\n');
                let space = b.is_ascii_whitespace();
                words += u64::from(in_word && space);
                in_word = !space;
            }
        }
        cx.checkpoint().await;
    }
    words += u64::from(in_word);
    let wanted = |c: char| found.is_empty() || found.iter().any(|(f, _)| *f == c);
    let mut columns = Vec::new();
    for (c, n) in [('l', lines), ('w', words), ('c', bytes)] {
        if wanted(c) {
            columns.push(n.to_string());
        }
    }
    columns.extend(operands.first().map(|p| text(p)));
    print(cx, format!("{}\n", columns.join(" "))).await
}

/// `seq [FIRST [STEP]] LAST`
async fn seq(mut cx: ProgramContext) -> ExitStatus {
    let Ok(numbers) = cx.args().iter().map(|a| a.parse::<i64>()).collect::<Result<Vec<_>, _>>() else {
        return cx.fail(1, "a number is expected").await;
    };
    let (first, step, last) = match numbers[..] {
        [last] => (1, 1, last),
        [first, last] => (first, 1, last),
        [first, step, last] if step != 0 => (first, step, last),
        _ => return cx.fail(1, "one to three numbers are expected").await,
    };
    let mut text = String::new();
    let mut at = first;
    while (step > 0 && at <= last) || (step < 0 && at >= last) {
        let _ = writeln!(text, "{at}"); // writing to a String can't fail
        at += step;
        if text.len() > 8 << 10 {
            if let Err(e) = cx.print(std::mem::take(&mut text)).await {
                return output_failed(&mut cx, &e).await;
            }
            cx.checkpoint().await;
        }
    }
    print(cx, text).await
}

/// `yes [WORD]`: until nobody reads.
async fn yes(mut cx: ProgramContext) -> ExitStatus {
    let word = cx.argv().get(1).cloned().unwrap_or_else(|| b"y".to_vec());
    let lines = [word.as_slice(), b"\n"].concat().repeat(512);
    loop {
        if let Err(e) = cx.stdout.write_all(&lines).await {
            return output_failed(&mut cx, &e).await;
        }
        cx.checkpoint().await;
    }
}

/// `tee [-a] FILE…`
async fn tee(mut cx: ProgramContext) -> ExitStatus {
    let (found, operands) = match options(&cx.argv()[1..], "a", "") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(2, why).await,
    };
    let mut outputs = vec![cx.stdout.clone()];
    for path in &operands {
        match cx.open_output(path, !found.is_empty()) {
            Ok(output) => outputs.push(output),
            Err(e) => return cx.fail(1, format!("{}: {}", text(path), e.text())).await,
        }
    }
    let mut buf = vec![0; 16 << 10];
    loop {
        let n = match cx.stdin.read(&mut buf).await {
            Ok(0) => return OK,
            Ok(n) => n,
            Err(e) => return cx.fail(1, e).await,
        };
        for output in &mut outputs {
            if let Err(e) = output.write_all(&buf[..n]).await {
                return output_failed(&mut cx, &e).await;
            }
        }
    }
}

/// A set of tr(1): characters, escapes, and ranges such as `a-z`.
fn set(spec: &[u8]) -> Vec<u8> {
    let chars = unescape(spec);
    let mut out = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        if i + 2 < chars.len() && chars[i + 1] == b'-' && chars[i] <= chars[i + 2] {
            out.extend(chars[i]..=chars[i + 2]);
            i += 3;
        } else {
            out.push(chars[i]);
            i += 1;
        }
    }
    out
}

/// `tr SET SET`, `tr -d SET`
async fn tr(mut cx: ProgramContext) -> ExitStatus {
    let (found, operands) = match options(&cx.argv()[1..], "d", "") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(2, why).await,
    };
    let delete = !found.is_empty();
    let mut map: [Option<u8>; 256] = std::array::from_fn(|i| Some(i as u8));
    match &operands[..] {
        [from] if delete => set(from).iter().for_each(|b| map[usize::from(*b)] = None),
        [from, to] if !delete => {
            let to = set(to);
            for (i, b) in set(from).iter().enumerate() {
                map[usize::from(*b)] = to.get(i).or(to.last()).copied();
            }
        }
        _ => return cx.fail(2, "two sets, or '-d' and one, are expected").await,
    }
    let mut buf = vec![0; 64 << 10];
    loop {
        let n = match cx.stdin.read(&mut buf).await {
            Ok(0) => return OK,
            Ok(n) => n,
            Err(e) => return cx.fail(1, e).await,
        };
        let out: Vec<u8> = buf[..n].iter().filter_map(|b| map[usize::from(*b)]).collect();
        if let Err(e) = cx.stdout.write_all(&out).await {
            return output_failed(&mut cx, &e).await;
        }
        cx.checkpoint().await;
    }
}

/// `sha256sum [FILE…]`
async fn sha256sum(mut cx: ProgramContext) -> ExitStatus {
    let (_, mut operands) = match options(&cx.argv()[1..], "", "") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(2, why).await,
    };
    if operands.is_empty() {
        operands.push(b"-".to_vec());
    }
    let mut buf = vec![0; 64 << 10];
    for path in operands {
        let mut input = match cx.open_input(&path) {
            Ok(input) => input,
            Err(e) => return cx.fail(1, format!("{}: {}", text(&path), e.text())).await,
        };
        let mut hash = sha2::Sha256::new();
        loop {
            match input.read(&mut buf).await {
                Ok(0) => break,
                Ok(n) => hash.update(&buf[..n]),
                Err(e) => return cx.fail(1, e).await,
            }
            cx.checkpoint().await;
        }
        let digest: String = hash.finalize().iter().fold(String::new(), |mut s, b| {
            let _ = write!(s, "{b:02x}"); // writing to a String can't fail
            s
        });
        let mut line = format!("{digest}  ").into_bytes();
        line.extend(&path);
        line.push(b'\n');
        if let Err(e) = cx.print(line).await {
            return output_failed(&mut cx, &e).await;
        }
    }
    OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printf_formats_and_repeats() {
        let args = |a: &[&str]| a.iter().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(format_all(b"%s=%d\\n", &args(&["a", "1", "b", "2"])).as_deref(), Ok(&b"a=1\nb=2\n"[..]));
        assert_eq!(format_all(b"%03d|%-4s|%%\\0\\101", &args(&["7", "x"])).as_deref(), Ok(&b"007|x   |%\0A"[..]));
        assert_eq!(format_all(b"\\xff\\n", &[]).as_deref(), Ok(&b"\xff\n"[..]));
        assert!(format_all(b"%d", &args(&["x"])).is_err());
        assert!(format_all(b"%q", &args(&["x"])).is_err());
    }

    #[test]
    fn sets_hold_ranges() {
        assert_eq!(set(b"a-c\\n-"), b"abc\n-");
    }
}
