//! The `local:` backend.

use crate::cgroup::Hierarchies;
use crate::client;
use crate::config::LocalConfig;
use crate::connection::LocalConnection;
use crate::events;
use crate::image;
use crate::logs::{LogParser, read_all};
use crate::networking::{LocalNetworking, Net};
use crate::own_files;
use crate::store::{Lock, Record, Store, write_json};
use crate::wire::{Bounds, Program, Reply, Request, Start};
use async_trait::async_trait;
use futures_util::StreamExt;
use pod_core::{
    AttachRequest, Backend, BackendInfo, BackendUri, Capabilities, Capability, Connection, CreateRequest, Error,
    ErrorKind, Event, EventKind, EventStream, EventsRequest, Filter, Image, IoResultExt, LABEL_OWNER, LogRecord,
    LogStream, LogStreamOf, LogsRequest, Networking, Process, RemoveOutcome, RemoveRequest, Result, StartOutcome,
    StartRequest, State, StopOutcome, StopRequest, Workload, WorkloadName, WorkloadSpec,
};
use std::collections::VecDeque;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// Containers on this machine, with no daemon.
#[derive(Debug, Clone)]
pub struct LocalBackend {
    info: BackendInfo,
    capabilities: Capabilities,
    engine: Engine,
}

/// What the backend, its connections and its networks share.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) store: Arc<Store>,
    pub(crate) net: Arc<Net>,
}

/// Runs blocking work on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(Error::unexpected("a blocking task failed").with_source(e)),
    }
}

impl LocalBackend {
    /// The engine of this machine, or of a folder of its own.
    ///
    /// # Errors
    /// `Unavailable` when the control groups or the kernel's features can't be read.
    pub async fn open(config: LocalConfig) -> Result<Self> {
        let store = Arc::new(config.store());
        let mut uri = BackendUri::new("local")?;
        if let Some(root) = &config.root {
            uri = uri.with_option("root", root.display().to_string());
        }
        let net = Arc::new(Net::new(&store));
        let capabilities = capabilities(&net).await?;
        Ok(Self {
            info: BackendInfo::new(uri, "pod-local", env!("CARGO_PKG_VERSION")),
            capabilities,
            engine: Engine { store, net },
        })
    }
}

/// All but what this machine's kernel lacks, policy rules, mounts, published ports and restarts, and copies that
/// are taken up: a copy on this machine has no line to break.
async fn capabilities(net: &Net) -> Result<Capabilities> {
    use Capability as C;
    let cgroups = Hierarchies::find().doing(|| "find the control groups")?;
    let mut all = [C::Policy, C::CopyResume, C::Mounts, C::Ports, C::PortsOnNetworks, C::Restart]
        .into_iter()
        .fold(Capabilities::all(), Capabilities::without);
    for (controller, capability) in
        [("cpu", Capability::LimitCpu), ("memory", Capability::LimitMemory), ("pids", Capability::LimitPids)]
    {
        if !cgroups.has_controller(controller) {
            all = all.without(capability);
        }
    }
    for lacking in net.lacking().await? {
        all = all.without(lacking);
    }
    Ok(all)
}

/// Who makes things here: the machine and the user.
fn owner() -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let machine = machine.trim();
    let machine = if machine.is_empty() { "unknown" } else { machine };
    format!("{machine}:{}", rustix::process::getuid().as_raw())
}

impl Engine {
    /// Takes a workload's lock.
    pub(crate) async fn lock(&self, name: &WorkloadName) -> Result<Lock> {
        let (store, name) = (self.store.clone(), name.clone());
        blocking(move || store.lock(&name)).await
    }

    fn emit(&self, name: &WorkloadName, kind: EventKind) {
        events::emit(&self.store.journal(), &Event::now(name.clone(), kind));
    }

    /// Makes a workload's folder, network namespace and attachments.
    async fn make(&self, spec: WorkloadSpec, id: &str) -> Result<()> {
        let (store, name, id) = (self.store.clone(), spec.name.clone(), id.to_owned());
        let attachments = spec.attachments.clone();
        blocking(move || {
            let root = image::open(spec.image.as_ref().unwrap_or(&Image::Host), &store)?;
            let record = record_of(spec, &id, &root);
            store.create(&record.spec.name, &id, |dir| {
                let (upper, work) = (dir.join("upper"), dir.join("work"));
                for folder in [&upper, &work] {
                    std::fs::create_dir(folder).doing(|| "make the workload's layers")?;
                }
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(&upper, std::fs::Permissions::from_mode(0o755))
                    .doing(|| "make the workload's layers")?;
                image::prepare_upper(&root, &upper, &store)?;
                own_files::write(&record.spec, &record.lower, &upper)?;
                write_json(&dir.join("record.json"), &record).doing(|| "write the workload's record")
            })?;
            // The record names the layers now, so that nobody takes them for unused.
            drop(root.lock);
            pod_net::netns::create(&store.netns(&record.spec.name))
        })
        .await?;
        for attachment in &attachments {
            self.net.attach(&self.store, &name, attachment).await?;
        }
        self.emit(&name, EventKind::Created);
        Ok(())
    }

    /// Makes a workload, and starts it when asked to; a failure leaves nothing.
    async fn create(&self, spec: WorkloadSpec, id: &str, start: bool) -> Result<()> {
        let name = spec.name.clone();
        let store = self.store.clone();
        let inside = blocking(move || store.enter()).await?;
        let made = match self.make(spec, id).await {
            Ok(()) if start => self.start(&name).await.map(drop),
            made => made,
        };
        drop(inside);
        let Err(e) = made else { return Ok(()) };
        // Only what this call made: another's workload of that name has another id.
        if self.store.record(&name).is_ok_and(|r| r.id == id)
            && let Err(left) = self.remove(&name, true).await
        {
            return Err(e.with_context("left_behind", left.to_string()));
        }
        let store = self.store.clone();
        let tidied = blocking(move || {
            image::remove_unused(&store)?;
            store.tidy();
            Ok(())
        });
        match tidied.await {
            Ok(()) => Err(e),
            Err(left) => Err(e.with_context("left_behind", left.to_string())),
        }
    }

    /// Removes what a cancelled creation made.
    async fn take_back(&self, name: &WorkloadName) {
        if let Err(e) = self.remove(name, true).await {
            tracing::warn!(error = %e, workload = %name, "a cancelled creation could not be taken back");
        }
    }

    /// The network namespace of a workload is there: after a reboot it is made anew, with its
    /// attachments.
    pub(crate) async fn ensure_netns(&self, name: &WorkloadName) -> Result<()> {
        let path = self.store.netns(name);
        if crate::networking::is_netns(&path) {
            return Ok(());
        }
        blocking(move || pod_net::netns::create(&path)).await?;
        self.net.restore(&self.store, name).await
    }

    async fn start(&self, name: &WorkloadName) -> Result<StartOutcome> {
        let store = self.store.clone();
        let _lock = self.lock(name).await?;
        let _inside = {
            let store = store.clone();
            blocking(move || store.enter()).await?
        };
        let workload = {
            let (store, name) = (store.clone(), name.clone());
            blocking(move || store.workload(&name)).await?
        };
        match workload.state {
            State::Running { command: None } | State::Starting => return Ok(StartOutcome::AlreadyRunning),
            State::Running { command: Some(_) } => {
                if let Some(channel) = client::dial(&store.run_dir(name))? {
                    return match client::ask(&channel, &Request::Rerun, &[]).await?.0 {
                        Reply::Started(_) => Ok(StartOutcome::Started),
                        _ => Ok(StartOutcome::AlreadyRunning),
                    };
                }
            }
            _ => {}
        }
        let record = {
            let (store, name) = (store.clone(), name.clone());
            blocking(move || {
                store.wait_dead(&name)?;
                let record = store.record(&name)?;
                clear_last_run(&store, &name, &record)?;
                Ok(record)
            })
            .await?
        };
        self.ensure_netns(name).await?;
        self.net.set_running(name, true).await?;
        // What a creation that was killed left half attached is made whole; else nothing is done.
        self.net.restore(&self.store, name).await?;
        client::start(&start_of(&store, name, record)).await?;
        Ok(StartOutcome::Started)
    }

    async fn stop(&self, name: &WorkloadName, signal: u8, grace_ms: u64) -> Result<StopOutcome> {
        let store = self.store.clone();
        let (s, n) = (store.clone(), name.clone());
        let running = blocking(move || {
            s.record(&n)?;
            s.alive(&n)
        })
        .await?;
        let outcome = match client::dial(&store.run_dir(name))? {
            Some(channel) if running => {
                match client::ask(&channel, &Request::Stop { signal, grace_ms }, &[]).await {
                    Ok((Reply::Done(true), _)) => StopOutcome::Killed,
                    Ok(_) => StopOutcome::Stopped,
                    // It ended by itself just now.
                    Err(e) if e.kind() == ErrorKind::WrongState => StopOutcome::Stopped,
                    Err(e) => return Err(e),
                }
            }
            _ => StopOutcome::AlreadyStopped,
        };
        let (s, n) = (store, name.clone());
        blocking(move || s.wait_dead(&n)).await?;
        Ok(outcome)
    }

    /// Removes all of a workload; a missing part is no error, so that a cut removal can be finished.
    pub(crate) async fn remove(&self, name: &WorkloadName, force: bool) -> Result<RemoveOutcome> {
        let lock = match self.lock(name).await {
            Ok(lock) => lock,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(RemoveOutcome::AlreadyAbsent),
            Err(e) => return Err(e),
        };
        let (s, n) = (self.store.clone(), name.clone());
        let (alive, ended) = blocking(move || Ok((s.alive(&n)?, s.ended(&n).is_ok_and(|e| e.is_some())))).await?;
        if alive && ended {
            // Its command has ended, and its helper is about to.
            let (s, n) = (self.store.clone(), name.clone());
            blocking(move || s.wait_dead(&n)).await?;
        } else if alive {
            if !force {
                return Err(Error::new(ErrorKind::WrongState, "the workload runs")
                    .with_context("workload", name.as_str())
                    .with_hint(format!("stop it first, or remove it by force: `pod rm -f {name}`")));
            }
            self.stop_for_removal(name).await?;
        }
        self.net.forget(name).await?;
        let (store, n) = (self.store.clone(), name.clone());
        blocking(move || {
            // A damaged record must not make a workload that can't be removed.
            let id = store.record(&n).map_or_else(|_| format!("removed-{n}"), |r| r.id);
            pod_net::netns::remove(&store.netns(&n))?;
            Hierarchies::find()
                .and_then(|c| c.remove(&store.cgroup(&id)))
                .doing(|| format!("remove the control groups of {n}"))?;
            events::emit(&store.journal(), &Event::now(n.clone(), EventKind::Removed));
            store.remove(&n, &id)?;
            image::remove_unused(&store)?;
            store.tidy();
            Ok(())
        })
        .await?;
        drop(lock);
        Ok(RemoveOutcome::Removed)
    }

    async fn stop_for_removal(&self, name: &WorkloadName) -> Result<()> {
        self.stop(name, 9, 0).await.map(drop)
    }

    /// A workload with its attachments.
    async fn inspect(&self, name: &WorkloadName) -> Result<Workload> {
        let (s, n) = (self.store.clone(), name.clone());
        let mut workload = blocking(move || s.workload(&n)).await?;
        workload.attachments = self.net.attachments_of(name).await?;
        Ok(workload)
    }
}

fn record_of(mut spec: WorkloadSpec, id: &str, root: &image::Root) -> Record {
    let mut command = root.entrypoint.clone();
    command.extend(if spec.command.is_empty() { root.command.clone() } else { spec.command.clone() });
    let mut env = root.env.clone();
    for (key, value) in &spec.env {
        env.retain(|(k, _)| k != key);
        env.push((key.clone(), value.clone()));
    }
    let cwd = spec.cwd.clone().or_else(|| root.cwd.clone());
    let user = spec.user.clone().or_else(|| root.user.clone());
    spec.image.get_or_insert(Image::Host);
    spec.labels.insert(LABEL_OWNER.into(), owner());
    Record {
        id: id.to_owned(),
        created: jiff::Timestamp::now(),
        spec,
        lower: root.lower.clone(),
        tmpfs_run: root.tmpfs_run,
        command,
        env,
        cwd,
        user,
    }
}

/// What the last run left: its files of the boot, its control groups if its helper was killed, and how
/// it ended.
fn clear_last_run(store: &Store, name: &WorkloadName, record: &Record) -> Result<()> {
    let run = store.run_dir(name);
    if run.exists() {
        Hierarchies::find().and_then(|c| c.remove(&store.cgroup(&record.id))).doing(|| "remove old control groups")?;
        std::fs::remove_dir_all(&run).doing(|| "remove old runtime files")?;
    }
    std::fs::create_dir_all(&run).doing(|| "make the workload's runtime folder")?;
    match std::fs::remove_file(store.dir(name).join("exit.json")) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("forget the last exit status", e)),
        _ => Ok(()),
    }
}

pub(crate) fn to_bytes(env: &[(String, String)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    env.iter().map(|(k, v)| (k.clone().into_bytes(), v.clone().into_bytes())).collect()
}

fn start_of(store: &Store, name: &WorkloadName, record: Record) -> Start {
    let mut env = to_bytes(&record.env);
    if record.spec.tty && !record.env.iter().any(|(k, _)| k == "TERM") {
        env.push((b"TERM".to_vec(), b"xterm".to_vec()));
    }
    Start {
        name: name.to_string(),
        dir: store.dir(name),
        run: store.run_dir(name),
        journal: store.journal(),
        netns: store.netns(name),
        engine: (store.lib.clone(), store.run.clone(), store.instance.clone()),
        cgroup: store.cgroup(&record.id),
        id: record.id,
        lower: record.lower,
        tmpfs_run: record.tmpfs_run,
        limits: Bounds {
            cpus: record.spec.limits.cpus,
            memory: record.spec.limits.memory,
            pids: record.spec.limits.pids,
        },
        program: Program {
            argv: record.command.into_iter().map(String::into_bytes).collect(),
            env,
            cwd: record.cwd,
            user: record.user,
            tty: record.spec.tty.then_some((24, 80)),
        },
        stdin: record.spec.stdin,
        keep_alive: record.spec.keep_alive,
        own_command: record.spec.command.is_empty(),
    }
}

/// A creation under way on a task of its own. If the caller goes, what is made is taken back when it is
/// whole: half-way there would be nothing yet to take hold of.
struct Creation {
    engine: Engine,
    name: WorkloadName,
    made: tokio::sync::oneshot::Receiver<Result<()>>,
    taken: bool,
}

impl Drop for Creation {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        self.made.close();
        // Made, and told to nobody.
        if let Ok(Ok(())) = self.made.try_recv() {
            let (engine, name) = (self.engine.clone(), self.name.clone());
            tokio::spawn(async move { engine.take_back(&name).await });
        }
    }
}

#[async_trait]
impl Backend for LocalBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn ping(&self) -> Result<()> {
        let store = self.engine.store.clone();
        blocking(move || {
            drop(store.enter()?);
            store.tidy();
            client::helper_program().map(drop)
        })
        .await
    }

    async fn create(&self, request: CreateRequest) -> Result<Workload> {
        let name = request.spec.name.clone();
        let id = uuid::Uuid::new_v4().simple().to_string()[..16].to_owned();
        if self.engine.store.dir(&name).exists() {
            // The one that is there is not touched, whatever fails below.
            return Err(Error::new(ErrorKind::AlreadyExists, "a workload of that name exists")
                .with_context("workload", name.as_str())
                .with_hint(format!("choose another name, or remove it: `pod rm {name}`")));
        }
        let (told, made) = tokio::sync::oneshot::channel();
        let mut creation = Creation { engine: self.engine.clone(), name: name.clone(), made, taken: false };
        let (engine, spec, own) = (self.engine.clone(), request.spec, name.clone());
        tokio::spawn(async move {
            let done = engine.create(spec, &id, request.start).await;
            if let Err(Ok(())) = told.send(done) {
                engine.take_back(&own).await;
            }
        });
        let done = (&mut creation.made).await;
        creation.taken = true;
        done.unwrap_or_else(|_| Err(Error::new(ErrorKind::Cancelled, "the runtime was shut down")))?;
        self.engine.inspect(&name).await
    }

    async fn start(&self, request: StartRequest) -> Result<StartOutcome> {
        self.engine.start(&request.name).await
    }

    async fn stop(&self, request: StopRequest) -> Result<StopOutcome> {
        let grace = u64::try_from(request.grace.as_millis()).unwrap_or(u64::MAX);
        self.engine.stop(&request.name, request.signal.get(), grace).await
    }

    async fn remove(&self, request: RemoveRequest) -> Result<RemoveOutcome> {
        self.engine.remove(&request.name, request.force).await
    }

    async fn inspect(&self, name: &WorkloadName) -> Result<Workload> {
        self.engine.inspect(name).await
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Workload>> {
        let store = self.engine.store.clone();
        let mut workloads = blocking(move || {
            let mut found = Vec::new();
            for name in store.names()? {
                match store.workload(&name) {
                    Ok(workload) => found.push(workload),
                    // Removed since the names were read.
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(found)
        })
        .await?;
        workloads.retain(|w| filter.matches(w));
        if !workloads.is_empty() {
            for attachment in self.engine.net.all_attachments().await? {
                if let Some(w) = workloads.iter_mut().find(|w| *w.name() == attachment.workload) {
                    w.attachments.push(attachment);
                }
            }
        }
        Ok(workloads)
    }

    async fn logs(&self, request: LogsRequest) -> Result<LogStreamOf> {
        let store = self.engine.store.clone();
        let dir = store.dir(&request.name);
        // Watching begins before reading, so nothing is missed between.
        let watch = if request.follow { Some(events::Watch::new(&dir)) } else { None };
        let (s, name) = (store.clone(), request.name.clone());
        blocking(move || s.record(&name)).await?;
        let path = dir.join("log");
        let (past, offset) = blocking(move || {
            let length = std::fs::metadata(&path).map_or(0, |m| m.len());
            Ok((read_all(&path, length).doing(|| "read the log")?, length))
        })
        .await?;
        let mut past: VecDeque<LogRecord> =
            past.into_iter().filter(|r| request.since.is_none_or(|s| r.time.is_none_or(|t| t >= s))).collect();
        if let Some(tail) = request.tail {
            past.drain(..past.len().saturating_sub(tail));
        }
        let past = futures_util::stream::iter(past.into_iter().map(Ok));
        let Some(watch) = watch else { return Ok(Box::pin(past)) };
        let watch = watch.doing(|| "watch the log")?;
        let follower =
            Follower { store, name: request.name, watch, offset, parser: LogParser::default(), ready: VecDeque::new() };
        Ok(Box::pin(past.chain(futures_util::stream::unfold(Some(follower), Follower::next))))
    }

    async fn events(&self, request: EventsRequest) -> Result<EventStream> {
        events::follow(&self.engine.store.journal(), request)
    }

    async fn attach(&self, request: AttachRequest) -> Result<Process> {
        let store = &self.engine.store;
        let record = store.record(&request.name)?;
        let not_running = || {
            Error::new(ErrorKind::WrongState, "the workload does not run")
                .with_context("workload", request.name.as_str())
                .with_hint(format!("start it: `pod start {}`", request.name))
        };
        if request.stdin && !record.spec.stdin && !record.spec.tty {
            return Err(Error::new(ErrorKind::WrongState, "the workload was made without a stdin")
                .with_context("workload", request.name.as_str())
                .with_hint("make it with -i, or attach without a stdin"));
        }
        let channel = client::dial(&store.run_dir(&request.name))?.ok_or_else(not_running)?;
        let (driver, mut streams, length) = client::attach(channel, request.stdin, request.tty).await?;
        if record.spec.tty {
            streams.stderr = None; // a terminal has one output
        }
        if request.logs {
            let path = store.dir(&request.name).join("log");
            let past = blocking(move || read_all(&path, length).doing(|| "read the log")).await?;
            for (which, stream) in [(LogStream::Stdout, &mut streams.stdout), (LogStream::Stderr, &mut streams.stderr)]
            {
                let before: Vec<u8> = past.iter().filter(|r| r.stream == which).flat_map(|r| r.data.to_vec()).collect();
                if let Some(live) = stream.take() {
                    *stream = Some(Box::pin(AsyncReadExt::chain(std::io::Cursor::new(before), live)));
                }
            }
        }
        Ok(Process::attached(Box::new(driver), streams))
    }

    async fn connect(&self, name: &WorkloadName) -> Result<Arc<dyn Connection>> {
        let (s, n) = (self.engine.store.clone(), name.clone());
        let record = blocking(move || s.record(&n)).await?;
        Ok(Arc::new(LocalConnection::new(self.engine.clone(), name.clone(), record)))
    }

    fn networking(&self) -> Option<Arc<dyn Networking>> {
        Some(Arc::new(LocalNetworking::new(self.engine.clone())))
    }
}

/// Follows a log until its command has ended.
struct Follower {
    store: Arc<Store>,
    name: WorkloadName,
    watch: events::Watch,
    offset: u64,
    parser: LogParser,
    ready: VecDeque<LogRecord>,
}

impl Follower {
    async fn next(follower: Option<Self>) -> Option<(Result<LogRecord>, Option<Self>)> {
        let mut f = follower?;
        loop {
            if let Some(record) = f.ready.pop_front() {
                return Some((Ok(record), Some(f)));
            }
            // Whether it has ended is asked before the reading: what was written before the end is read.
            let over = match f.store.workload(&f.name) {
                Ok(w) => !matches!(w.state, State::Running { command: None } | State::Starting | State::Created),
                Err(e) if e.kind() == ErrorKind::NotFound => true,
                Err(e) => return Some((Err(e), None)),
            };
            match f.read() {
                Ok(()) if f.ready.is_empty() && over => return None,
                Ok(()) if f.ready.is_empty() => {
                    // The helper's end shows in files of the other folder too; a slow look covers those.
                    let _ = tokio::time::timeout(std::time::Duration::from_millis(250), f.watch.changed()).await;
                }
                Ok(()) => {}
                Err(e) => return Some((Err(e), None)),
            }
        }
    }

    fn read(&mut self) -> Result<()> {
        use std::io::{Seek, SeekFrom};
        let path: PathBuf = self.store.dir(&self.name).join("log");
        let mut file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("read the log", e)),
        };
        file.seek(SeekFrom::Start(self.offset)).doing(|| "read the log")?;
        let mut bytes = Vec::new();
        file.take(1 << 20).read_to_end(&mut bytes).doing(|| "read the log")?;
        self.offset += bytes.len() as u64;
        self.ready.extend(self.parser.feed(&bytes).doing(|| "read the log")?);
        Ok(())
    }
}
