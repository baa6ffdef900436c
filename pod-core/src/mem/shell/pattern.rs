//! Patterns, and arithmetic, of the shell.

/// A byte, and whether it was quoted: then it stands for itself.
pub(super) type Marked = (u8, bool);

pub(super) fn marked(bytes: &[u8], quoted: bool) -> Vec<Marked> {
    bytes.iter().map(|b| (*b, quoted)).collect()
}

/// Whether a pattern holds something that is no plain byte.
pub(super) fn is_pattern(pattern: &[Marked]) -> bool {
    pattern.iter().any(|(b, quoted)| !quoted && matches!(b, b'*' | b'?' | b'['))
}

/// Whether all of `text` matches (POSIX.1-2024, 2.14).
pub(super) fn matches(pattern: &[Marked], text: &[u8]) -> bool {
    // The place to go back to: after the last `*`, and the text it has taken so far.
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some((b'*', false)) => {
                back = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some((b'?', false)) if t < text.len() => Some(1),
            Some((b'[', false)) if t < text.len() => match bracket(&pattern[p..], text[t]) {
                Some((len, true)) => Some(len),
                Some((_, false)) => None,
                None => (text[t] == b'[').then_some(1),
            },
            Some((b, _)) if text.get(t) == Some(b) => Some(1),
            None if t == text.len() => return true,
            _ => None,
        };
        match (step, back) {
            (Some(len), _) => {
                p += len;
                t += 1;
            }
            (None, Some((after, taken))) if taken < text.len() => {
                back = Some((after, taken + 1));
                (p, t) = (after, taken + 1);
            }
            _ => return false,
        }
    }
}

/// A bracket expression: its length, and whether it holds `b`; `None` when it is not closed.
fn bracket(pattern: &[Marked], b: u8) -> Option<(usize, bool)> {
    let mut i = 1;
    let negated = matches!(pattern.get(i), Some((b'!' | b'^', false)));
    i += usize::from(negated);
    let first = i;
    let mut held = false;
    loop {
        let (c, quoted) = *pattern.get(i)?;
        if c == b']' && !quoted && i > first {
            return Some((i + 1, held != negated));
        }
        match (pattern.get(i + 1), pattern.get(i + 2)) {
            (Some((b'-', false)), Some((end, q))) if *end != b']' || *q => {
                held |= (c..=*end).contains(&b);
                i += 3;
            }
            _ => {
                held |= c == b;
                i += 1;
            }
        }
    }
}

/// Evaluates an arithmetic expression (POSIX.1-2024, 2.6.4) without assignments; `get` gives a
/// variable's value.
pub(super) fn arithmetic(text: &str, get: &dyn Fn(&str) -> String) -> Result<i64, String> {
    let mut a = Arithmetic { text: text.as_bytes(), at: 0, depth: 0, get };
    let value = a.ternary()?;
    a.blanks();
    if a.at == text.len() { Ok(value) } else { Err(format!("arithmetic: unexpected {:?}", &text[a.at..])) }
}

struct Arithmetic<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    get: &'a dyn Fn(&str) -> String,
}

const LEVELS: [&[&[u8]]; 10] = [
    &[b"||"],
    &[b"&&"],
    &[b"|"],
    &[b"^"],
    &[b"&"],
    &[b"==", b"!="],
    &[b"<=", b">=", b"<", b">"],
    &[b"<<", b">>"],
    &[b"+", b"-"],
    &[b"*", b"/", b"%"],
];

impl Arithmetic<'_> {
    fn blanks(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn eat(&mut self, sign: &[u8]) -> bool {
        self.blanks();
        let there = self.text[self.at..].starts_with(sign);
        if there {
            self.at += sign.len();
        }
        there
    }

    fn ternary(&mut self) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > 50 {
            return Err("arithmetic: nested too deep".into());
        }
        let condition = self.level(0)?;
        let value = if self.eat(b"?") {
            let yes = self.ternary()?;
            if !self.eat(b":") {
                return Err("arithmetic: ':' is expected".into());
            }
            let no = self.ternary()?;
            if condition != 0 { yes } else { no }
        } else {
            condition
        };
        self.depth -= 1;
        Ok(value)
    }

    fn level(&mut self, level: usize) -> Result<i64, String> {
        let Some(signs) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.level(level + 1)?;
        'again: loop {
            self.blanks();
            for sign in *signs {
                let rest = &self.text[self.at..];
                let longer: [&[u8]; 4] = [b"||", b"&&", b"<<", b">>"];
                let part_of_longer = sign.len() == 1 && longer.iter().any(|l| rest.starts_with(l));
                if rest.starts_with(sign) && !part_of_longer {
                    self.at += sign.len();
                    let right = self.level(level + 1)?;
                    left = apply(sign, left, right)?;
                    continue 'again;
                }
            }
            return Ok(left);
        }
    }

    fn unary(&mut self) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > 50 {
            return Err("arithmetic: nested too deep".into());
        }
        let value = if self.eat(b"(") {
            let value = self.ternary()?;
            if !self.eat(b")") {
                return Err("arithmetic: ')' is expected".into());
            }
            value
        } else if self.eat(b"-") {
            self.unary()?.wrapping_neg()
        } else if self.eat(b"+") {
            self.unary()?
        } else if self.eat(b"!") {
            i64::from(self.unary()? == 0)
        } else if self.eat(b"~") {
            !self.unary()?
        } else {
            self.blanks();
            let rest = &self.text[self.at..];
            let n = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
            let word = String::from_utf8_lossy(&rest[..n]).into_owned();
            self.at += n;
            if word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                let value = (self.get)(&word);
                if value.trim().is_empty() { 0 } else { number(value.trim())? }
            } else {
                number(&word)?
            }
        };
        self.depth -= 1;
        Ok(value)
    }
}

fn number(text: &str) -> Result<i64, String> {
    let value = if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        i64::from_str_radix(hex, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        i64::from_str_radix(&text[1..], 8)
    } else {
        text.parse()
    };
    value.map_err(|_| format!("arithmetic: {text:?} is no number"))
}

fn apply(sign: &[u8], a: i64, b: i64) -> Result<i64, String> {
    Ok(match sign {
        b"||" => i64::from(a != 0 || b != 0),
        b"&&" => i64::from(a != 0 && b != 0),
        b"|" => a | b,
        b"^" => a ^ b,
        b"&" => a & b,
        b"==" => i64::from(a == b),
        b"!=" => i64::from(a != b),
        b"<=" => i64::from(a <= b),
        b">=" => i64::from(a >= b),
        b"<" => i64::from(a < b),
        b">" => i64::from(a > b),
        b"<<" => a.wrapping_shl(b as u32),
        b">>" => a.wrapping_shr(b as u32),
        b"+" => a.wrapping_add(b),
        b"-" => a.wrapping_sub(b),
        b"*" => a.wrapping_mul(b),
        b"/" | b"%" if b == 0 => return Err("arithmetic: division by zero".into()),
        b"/" => a.wrapping_div(b),
        _ => a.wrapping_rem(b),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match() {
        let m = |p: &str, t: &str| matches(&marked(p.as_bytes(), false), t.as_bytes());
        for (p, t) in [
            ("*", ""),
            ("a*c", "abbc"),
            ("?x", "ax"),
            ("[a-c]1", "b1"),
            ("[!a]", "b"),
            ("*.t*", "a.b.txt"),
            ("[", "["),
            ("[]]", "]"),
        ] {
            assert!(m(p, t), "{p} {t}");
        }
        for (p, t) in [("a*c", "abb"), ("?", ""), ("[a-c]", "d"), ("[!a]", "a"), ("a", "ab"), ("", "a")] {
            assert!(!m(p, t), "{p} {t}");
        }
        assert!(!matches(&marked(b"*", true), b"a"));
    }

    #[test]
    fn sums_are_done() {
        let get = |name: &str| if name == "x" { "7".to_owned() } else { String::new() };
        for (text, value) in [
            ("1 + 2 * 3", 7),
            ("(1+2)*3", 9),
            ("x % 4 == 3 && !y", 1),
            ("-x + 0x10", 9),
            ("1 < 2 ? 010 : 0", 8),
            ("1 << 4 | 1", 17),
            ("6/4-1", 0),
        ] {
            assert_eq!(arithmetic(text, &get), Ok(value), "{text}");
        }
        for bad in ["1 +", "1/0", "(1", "1 2", "09", &"(".repeat(500)] {
            assert!(arithmetic(bad, &get).is_err(), "{bad}");
        }
    }
}
