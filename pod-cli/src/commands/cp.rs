//! `pod cp`

use crate::args::{Check, Cp};
use crate::context::{Context, Target};
use crate::exit::Exit;
use crate::output::CopyView;
use crate::progress::Bars;
use crate::stdio::stdin_reader;
use pod::copy::{self, CopyOptions, CopyReport, Verify};
use pod::size::human;
use pod::{Capabilities, Connection, Error, Registry, Result};
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operand {
    /// `-`
    Tar,
    /// A path of this machine.
    Local(PathBuf),
    /// A path in a workload.
    Remote { address: String, path: Vec<u8> },
}

pub(super) async fn run(context: &Context, args: Cp) -> Result<Exit> {
    let registry = context.registry()?;
    let source = operand(registry, &args.source)?;
    let destination = operand(registry, &args.destination)?;
    if args.helper.is_some() {
        check_helper(context, [&source, &destination])?;
    }
    let bars = Arc::new(Bars::new(&context.globals));
    let hook = bars.clone();
    let options = CopyOptions::new()
        .with_archive(args.archive)
        .with_follow(args.follow_link)
        .with_resume(args.resume)
        .with_verify(match args.verify {
            Check::Length => Verify::Length,
            Check::Hash => Verify::Hash,
            Check::None => Verify::None,
        })
        .with_progress(move |p| hook.copied(p.bytes, p.entries));
    let to_stdout = destination == Operand::Tar;
    bars.bytes(&format!("copy {}", args.source.to_string_lossy()));
    let copied = copy(&Ends { context, helper: args.helper.as_deref() }, source, destination, &options).await;
    bars.end();
    let report = match copied {
        Err(e) if to_stdout && crate::failure::is_closed_pipe(&e) => return Ok(Exit::OK),
        other => other?,
    };
    tell(context, &report);
    if !to_stdout && context.globals.output.is_some() {
        context.print(&CopyView(report))?;
    }
    Ok(Exit::OK)
}

async fn copy(ends: &Ends<'_>, source: Operand, destination: Operand, options: &CopyOptions) -> Result<CopyReport> {
    match (source, destination) {
        (Operand::Local(from), Operand::Remote { address, path }) => {
            let far = ends.open(&address).await?;
            far.explain(copy::upload(&*far.connection, &from, &path, options).await).await
        }
        (Operand::Remote { address, path }, Operand::Local(to)) => {
            let far = ends.open(&address).await?;
            far.explain(copy::download(&*far.connection, &path, &to, options).await).await
        }
        (Operand::Remote { address: from, path: source }, Operand::Remote { address: to, path: destination }) => {
            let (from, to) = (ends.open(&from).await?, ends.open(&to).await?);
            copy::between(&*from.connection, &source, &*to.connection, &destination, options).await
        }
        (Operand::Tar, Operand::Remote { address, path }) => {
            let far = ends.open(&address).await?;
            far.explain(copy::upload_tar(&*far.connection, stdin_reader(), &path, options).await).await
        }
        (Operand::Remote { address, path }, Operand::Tar) => {
            if std::io::stdout().is_terminal() {
                return Err(
                    Error::invalid("a tar stream is not for a terminal").with_hint("send stdout to a file or a pipe")
                );
            }
            let far = ends.open(&address).await?;
            far.explain(copy::download_tar(&*far.connection, &path, &mut tokio::io::stdout(), options).await).await
        }
        _ => Err(Error::invalid("a copy begins or ends in a workload")
            .with_hint("write WORKLOAD:PATH for a path in a workload; cp(1) copies on this machine")),
    }
}

/// A way into the workload at the far end.
struct Far {
    target: Target,
    connection: Arc<dyn Connection>,
}

/// The scheme of the backend that can put a helper beside a container.
const PODS: &str = "k8s";

/// Refuses a helper where neither end can have one.
fn check_helper(context: &Context, ends: [&Operand; 2]) -> Result<()> {
    for end in ends {
        if let Operand::Remote { address, .. } = end
            && context.resolve(address)?.backend.scheme() == PODS
        {
            return Ok(());
        }
    }
    Err(Error::unsupported("only pods can be given a helper to copy by")
        .with_hint("leave out --helper; copies on other backends need no shell in the image"))
}

/// How the ends of a copy are reached.
struct Ends<'a> {
    context: &'a Context,
    /// The image to copy by where the workload's own has no shell.
    helper: Option<&'a str>,
}

impl Ends<'_> {
    async fn open(&self, address: &str) -> Result<Far> {
        let target = match self.helper {
            None => self.context.target(address).await?,
            Some(image) => self.with_helper(address, image).await?,
        };
        match target.backend.connect(&target.name).await {
            Ok(connection) => Ok(Far { target, connection }),
            Err(e) => Err(target.explain(e).await),
        }
    }

    async fn with_helper(&self, address: &str, image: &str) -> Result<Target> {
        let resolved = self.context.resolve(address)?;
        let name = resolved.require_workload()?.clone();
        let uri = resolved.backend;
        // Of two ends, it is for the one that can have it.
        let uri = if uri.scheme() == PODS { uri.with_option("helper", image) } else { uri };
        Ok(Target { backend: self.context.reach_for(&uri, Capabilities::none()).await?, name })
    }
}

impl Far {
    async fn explain<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => Ok(value),
            Err(e) => Err(self.target.explain(e).await),
        }
    }
}

fn tell(context: &Context, report: &CopyReport) {
    let things = if report.entries == 1 { "entry" } else { "entries" };
    let checked = match report.checked {
        Verify::Length => "checked by length",
        Verify::Hash => "checked by hash",
        Verify::None => "not checked",
    };
    let mut text = format!("{} {things}, {}, {checked}", report.entries, human(report.bytes));
    if report.resumed > 0 {
        let files = if report.resumed == 1 { "file was" } else { "files were" };
        text.push_str(&format!("; {} {files} there already", report.resumed));
    }
    if !report.not_kept.is_empty() {
        text.push_str(&format!("; not kept: {}", report.not_kept.join(", ")));
    }
    context.say(&text);
}

/// Reads an operand: remote if it begins with a scheme, or with a name before `:` that has no `/` and
/// no leading `.`.
fn operand(registry: &Registry, given: &OsStr) -> Result<Operand> {
    if given == "-" {
        return Ok(Operand::Tar);
    }
    let bytes = super::exec::bytes(given);
    let local = || Ok(Operand::Local(PathBuf::from(given)));
    let Some(first) = bytes.iter().position(|b| *b == b':') else { return local() };
    let Ok(name) = std::str::from_utf8(&bytes[..first]) else { return local() };
    let drive = cfg!(windows) && name.len() == 1 && matches!(bytes.get(first + 1), Some(b'\\' | b'/'));
    if name.is_empty() || name.contains('/') || name.starts_with('.') || drive {
        return local();
    }
    let split = if registry.is_address(&format!("{name}:")) {
        let rest = &bytes[first + 1..];
        // A colon within the authority (a port) is no end of the address.
        let skip = match rest.strip_prefix(b"//") {
            Some(after) => 2 + after.iter().position(|b| *b == b'/').unwrap_or(after.len()),
            None => 0,
        };
        match rest[skip..].iter().position(|b| *b == b':') {
            Some(at) => first + 1 + skip + at,
            None => {
                return Err(Error::invalid("the address names no path in the workload")
                    .with_context("operand", given.to_string_lossy())
                    .with_hint(format!("write {}:/PATH", given.to_string_lossy())));
            }
        }
    } else {
        first
    };
    let address = std::str::from_utf8(&bytes[..split])
        .map_err(|e| Error::invalid("the workload's address is no UTF-8").with_source(e))?;
    let path = &bytes[split + 1..];
    if path.is_empty() {
        return Err(Error::invalid("there is no path after the workload")
            .with_context("operand", given.to_string_lossy())
            .with_hint(format!("write {address}:/ for its root")));
    }
    // As with other tools, a relative path begins at the root.
    let absolute = path.starts_with(b"/") || matches!(path, [drive, b':', ..] if drive.is_ascii_alphabetic());
    let path = if absolute { path.to_vec() } else { [b"/", path].concat() };
    Ok(Operand::Remote { address: address.to_owned(), path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod::{Config, Defaults};

    fn registry() -> Registry {
        let config = Config::parse("[backends]\nlab = 'mem:'\n").expect("config");
        Registry::with_defaults().with_config(config)
    }

    fn read(text: &str) -> Result<Operand> {
        operand(&registry(), OsStr::new(text))
    }

    #[test]
    fn a_path_is_remote_after_a_name_or_scheme() {
        let remote = |address: &str, path: &str| Operand::Remote { address: address.into(), path: path.into() };
        for (text, address, path) in [
            ("web:/etc", "web", "/etc"),
            ("web:etc", "web", "/etc"),
            ("web:/a:b", "web", "/a:b"),
            ("mem:web:/etc", "mem:web", "/etc"),
            ("lab:web:/etc/.", "lab:web", "/etc/."),
            ("mem://host:2376/web:/etc", "mem://host:2376/web", "/etc"),
            ("mem:web?name=x:/etc", "mem:web?name=x", "/etc"),
            ("win:C:\\x", "win", "C:\\x"),
        ] {
            assert_eq!(read(text).expect(text), remote(address, path), "{text}");
        }
        for text in ["./web:/etc", "../a:b", "a/b:c", "/abs:x", "plain", ".", ":x", ".hidden:x"] {
            assert_eq!(read(text).expect(text), Operand::Local(text.into()), "{text}");
        }
        assert_eq!(read("-").expect("tar"), Operand::Tar);
        for text in ["web:", "mem:web", "mem://host:1/web"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_may_hold_any_byte() {
        use std::os::unix::ffi::OsStrExt;
        let odd = OsStr::from_bytes(b"web:/a\xff\nb");
        let got = operand(&registry(), odd).expect("remote");
        assert_eq!(got, Operand::Remote { address: "web".into(), path: b"/a\xff\nb".to_vec() });
    }
}
