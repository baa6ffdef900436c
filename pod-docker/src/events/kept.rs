//! Ends of commands that their containers outlive: the daemon has no events of them, so while somebody follows,
//! those containers are looked at.

use super::Told;
use crate::containers::{self, kept};
use crate::engine::Engine;
use crate::owner::KEPT;
use futures_util::Stream;
use pod_core::{Event, EventKind, Result, WorkloadName};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How many events may wait for who follows.
const WAITING: usize = 16;

/// The run of each container that was the last to end, by the containers' ids.
type Ended = Arc<Mutex<BTreeMap<String, u64>>>;

/// Whether this run was not known to have ended.
fn is_new(ended: &Ended, id: &str, run: u64) -> bool {
    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
    ended.insert(id.to_owned(), run).is_none_or(|last| last < run)
}

/// The commands that are watched, by their containers' ids.
#[derive(Debug)]
pub(super) struct Commands {
    engine: Engine,
    tell: mpsc::Sender<Event>,
    ended: Ended,
    tasks: BTreeMap<String, JoinHandle<()>>,
}

impl Drop for Commands {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

impl Commands {
    /// Begins to watch those that run; gives what is told of them.
    pub(super) async fn begin(engine: &Engine) -> Result<(Self, impl Stream<Item = Event> + use<>)> {
        let (tell, told) = mpsc::channel(WAITING);
        let mut this = Self { engine: engine.clone(), tell, ended: Arc::default(), tasks: BTreeMap::new() };
        for id in containers::ids(engine, &json!({"label": [KEPT]})).await? {
            let about = |f| engine.error(f);
            let Some(found) = containers::by_id(engine, &id).await.map_err(about)? else { continue };
            if let Some(told) = kept::end_of(engine, &id).await.map_err(about)? {
                is_new(&this.ended, &id, told.run);
            }
            if let Ok(name) = found.name()
                && found.is_running()
            {
                this.watch(id, name);
            }
        }
        let told = futures_util::stream::unfold(told, |mut told| async move { Some((told.recv().await?, told)) });
        Ok((this, told))
    }

    fn watch(&mut self, id: String, name: WorkloadName) {
        let (engine, tell, ended, of) = (self.engine.clone(), self.tell.clone(), self.ended.clone(), id.clone());
        let watching = async move {
            // It may be run again, in the same container; so this goes on until that ends.
            loop {
                match kept::end_of(&engine, &of).await {
                    Ok(Some(told)) if is_new(&ended, &of, told.run) => {
                        if tell.send(Event::now(name.clone(), EventKind::Exited(told.status))).await.is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    // The daemon's own stream tells that it is gone.
                    Err(f) => tracing::debug!(error = %engine.error(f), "a command's end can't be asked for"),
                }
                sleep(kept::LOOK).await;
            }
        };
        if let Some(before) = self.tasks.insert(id, tokio::spawn(watching)) {
            before.abort();
        }
    }

    /// Takes what the daemon tells of a container for what it means for its command.
    pub(super) async fn hear(&mut self, told: &Told) {
        let id = &told.actor.id;
        match told.action.as_str() {
            "start" if told.attribute(KEPT).is_some() => {
                if let Some(name) = told.attribute("name").and_then(|n| WorkloadName::new(n.as_str()).ok()) {
                    self.watch(id.clone(), name);
                }
            }
            "die" | "died" => {
                if let Some(task) = self.tasks.remove(id) {
                    task.abort();
                    // The container's end tells of it; its next start must not.
                    if let Ok(Some(told)) = kept::end_of(&self.engine, id).await {
                        is_new(&self.ended, id, told.run);
                    }
                }
            }
            _ => {}
        }
    }
}
