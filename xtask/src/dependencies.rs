//! Checks what the workspace is built from against `deny.toml`, as `cargo deny` does: where the crates
//! come from, their licenses, and those that must not be among them.

use crate::project::Project;
use serde_json::Value;
use std::fs;

/// The parts of `deny.toml` used here.
#[derive(Debug)]
struct Rules {
    banned: Vec<String>,
    licenses: Vec<String>,
    exceptions: Vec<(String, String)>,
    sources: Vec<String>,
}

/// Checks every package of the lock file.
pub(crate) fn check(project: &Project) -> Result<(), String> {
    let path = project.root.join("deny.toml");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let rules = Rules::parse(&text)?;
    let wrong: Vec<_> = project.packages.iter().flat_map(|p| rules.check(p)).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n      ")) }
}

impl Rules {
    fn parse(text: &str) -> Result<Self, String> {
        let file: toml::Table = text.parse().map_err(|e| format!("deny.toml: {e}"))?;
        let list = |group: &str, key: &str| file.get(group).and_then(|g| g.get(key)).and_then(toml::Value::as_array);
        let strings = |group: &str, key: &str| -> Result<Vec<String>, String> {
            let list = list(group, key).ok_or_else(|| format!("deny.toml has no {group}.{key}"))?;
            Ok(list.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect())
        };
        let of = |value: &toml::Value, key: &str| value.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        let banned = list("bans", "deny").ok_or("deny.toml has no bans.deny")?;
        let exceptions = list("licenses", "exceptions").into_iter().flatten().flat_map(|e| {
            let allowed = e.get("allow").and_then(toml::Value::as_array).cloned().unwrap_or_default();
            let name = of(e, "crate").unwrap_or_default();
            allowed.into_iter().filter_map(move |l| Some((name.clone(), l.as_str()?.to_owned()))).collect::<Vec<_>>()
        });
        let clarified = list("licenses", "clarify").into_iter().flatten();
        let clarified = clarified.filter_map(|c| Some((of(c, "crate")?, of(c, "expression")?)));
        Ok(Self {
            banned: banned.iter().filter_map(|b| of(b, "crate")).collect(),
            licenses: strings("licenses", "allow")?,
            exceptions: exceptions.chain(clarified).collect(),
            sources: strings("sources", "allow-registry")?,
        })
    }

    fn check(&self, package: &Value) -> Vec<String> {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let (name, license) = (text("name"), text("license"));
        let mut wrong = Vec::new();
        if self.banned.iter().any(|b| b == name) {
            wrong.push(format!("{name} is banned by deny.toml"));
        }
        if let Some(source) = package["source"].as_str()
            && !self.sources.iter().any(|s| source.strip_prefix("registry+") == Some(s))
        {
            wrong.push(format!("{name} comes from {source}"));
        }
        let excepted = self.exceptions.iter().filter(|(n, _)| n == name).map(|(_, l)| l.as_str());
        let allowed: Vec<_> = self.licenses.iter().map(String::as_str).chain(excepted).collect();
        let stated = if license.is_empty() {
            self.exceptions.iter().any(|(n, l)| n == name && self.licenses.contains(l))
        } else {
            permits(license, &allowed)
        };
        if !stated {
            wrong.push(format!("{name} has the license {license:?}, which deny.toml does not allow"));
        }
        wrong
    }
}

/// Whether an SPDX expression can be met by the licenses allowed. `AND` binds closer than `OR`, as the
/// SPDX specification says; `/` is an old spelling of `OR`.
fn permits(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest, allowed) && rest.is_empty()
}

fn any_of(words: &mut &[&str], allowed: &[&str]) -> bool {
    let mut good = all_of(words, allowed);
    while words.first() == Some(&"OR") {
        *words = &words[1..];
        good |= all_of(words, allowed);
    }
    good
}

fn all_of(words: &mut &[&str], allowed: &[&str]) -> bool {
    let mut good = one(words, allowed);
    while words.first() == Some(&"AND") {
        *words = &words[1..];
        good &= one(words, allowed);
    }
    good
}

fn one(words: &mut &[&str], allowed: &[&str]) -> bool {
    let Some((first, rest)) = words.split_first() else { return false };
    *words = rest;
    if *first == "(" {
        let good = any_of(words, allowed);
        let closed = words.first() == Some(&")");
        *words = words.get(1..).unwrap_or_default();
        return good && closed;
    }
    if let ["WITH", exception, rest @ ..] = *words {
        *words = rest;
        return allowed.contains(&format!("{first} WITH {exception}").as_str());
    }
    allowed.contains(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn license_expressions_are_understood() {
        let allowed = ["MIT", "Apache-2.0", "BSD-3-Clause"];
        for good in ["MIT", "MIT/Apache-2.0", "GPL-2.0 OR MIT", "(Apache-2.0 OR GPL-2.0) AND BSD-3-Clause"] {
            assert!(permits(good, &allowed), "{good}");
        }
        for bad in
            ["GPL-2.0", "MIT AND GPL-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0", "Apache-2.0 WITH x", "", "MIT )"]
        {
            assert!(!permits(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn each_rule_refuses_what_breaks_it() {
        let rules = Rules::parse(
            "[bans]\ndeny = [{ crate = \"openssl\" }]\n[licenses]\nallow = [\"MIT\"]\n\
             exceptions = [{ crate = \"p\", allow = [\"MPL-2.0\"] }]\n\
             clarify = [{ crate = \"q\", expression = \"MIT\", license-files = [] }]\n\
             [sources]\nallow-registry = [\"https://good\"]\n",
        )
        .expect("rules");
        let package = |name: &str, license: &str, source: &str| {
            rules.check(&serde_json::json!({ "name": name, "license": license, "source": source })).len()
        };
        assert_eq!(package("a", "MIT", "registry+https://good"), 0);
        assert_eq!(package("p", "MPL-2.0", "registry+https://good"), 0);
        assert_eq!(package("q", "", "registry+https://good"), 0);
        assert_eq!(package("openssl", "MIT", "registry+https://good"), 1);
        assert_eq!(package("a", "MPL-2.0", "registry+https://good"), 1);
        assert_eq!(package("a", "", "registry+https://good"), 1);
        assert_eq!(package("a", "MIT", "git+https://good"), 1);
    }
}
