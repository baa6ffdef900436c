//! `pod backend`

use crate::args::{BackendArgs, BackendCommand};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{BackendList, BackendView, CapsView, OutcomeList};
use pod::Result;

pub(super) async fn run(context: &Context, args: BackendArgs) -> Result<Exit> {
    match args.command {
        BackendCommand::Ls(_) => list(context)?,
        BackendCommand::Caps(args) => {
            let backend = context.reach(&context.backend_uri(args.uri.as_deref())?).await?;
            context.print(&CapsView::new(backend.info(), backend.capabilities()))?;
        }
        BackendCommand::Ping(args) => {
            let uri = context.backend_uri(args.uri.as_deref())?;
            context.reach(&uri).await?.ping().await?;
            let mut outcome = OutcomeList::default();
            outcome.add(&uri, &"answers");
            context.print(&outcome)?;
        }
    }
    Ok(Exit::OK)
}

fn list(context: &Context) -> Result<()> {
    let registry = context.registry()?;
    // A platform may have no default backend, which is no reason not to list those there are.
    let default = context.default_backend().ok();
    let built_in = registry.schemes().map(|(scheme, about)| BackendView {
        name: scheme.to_owned(),
        uri: format!("{scheme}:"),
        about: about.to_owned(),
        is_default: default.as_ref().is_some_and(|d| d.to_string() == format!("{scheme}:")),
    });
    let named = registry.config().backends.iter().map(|(name, uri)| BackendView {
        name: name.clone(),
        uri: uri.to_string(),
        about: "named in the configuration".into(),
        is_default: default.as_ref() == Some(uri),
    });
    context.print(&BackendList(built_in.chain(named).collect()))
}
