//! Signals sent to the command itself.

use pod::{Result, Signal, TtySize};

/// What the outside asks of a command that holds a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// End: SIGINT, SIGTERM, SIGHUP or SIGQUIT came.
    End(Signal),
    /// The terminal has another size.
    #[cfg_attr(not(unix), allow(dead_code, reason = "only Unix tells"))]
    Resized(TtySize),
}

#[cfg(unix)]
mod unix {
    use super::Control;
    use pod::{IoResultExt, Result, Signal};
    use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

    /// The signals to this process, from when this is made on; their default action is off then.
    #[derive(Debug)]
    pub(crate) struct Controls {
        int: Stream,
        term: Stream,
        hup: Stream,
        quit: Stream,
        winch: Option<Stream>,
    }

    impl Controls {
        pub(crate) fn new(terminal: bool) -> Result<Self> {
            let on = |kind| signal(kind).doing(|| "listen for signals");
            Ok(Self {
                int: on(SignalKind::interrupt())?,
                term: on(SignalKind::terminate())?,
                hup: on(SignalKind::hangup())?,
                quit: on(SignalKind::quit())?,
                winch: terminal.then(|| on(SignalKind::window_change())).transpose()?,
            })
        }

        /// The next thing asked. Cancel-safe.
        pub(crate) async fn next(&mut self) -> Control {
            let quit = Signal::try_from(3).unwrap_or(Signal::TERM);
            loop {
                let winch = async {
                    match &mut self.winch {
                        Some(w) => w.recv().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = self.int.recv() => return Control::End(Signal::INT),
                    _ = self.term.recv() => return Control::End(Signal::TERM),
                    _ = self.hup.recv() => return Control::End(Signal::HUP),
                    _ = self.quit.recv() => return Control::End(quit),
                    _ = winch => if let Some(size) = crate::terminal::size() {
                        return Control::Resized(size);
                    },
                }
            }
        }
    }
}

#[cfg(not(unix))]
mod other {
    use super::Control;
    use pod::{Result, Signal};

    /// Ctrl-C, from when this is made on.
    #[derive(Debug)]
    pub(crate) struct Controls(());

    impl Controls {
        pub(crate) fn new(_terminal: bool) -> Result<Self> {
            Ok(Self(()))
        }

        /// The next thing asked. Cancel-safe.
        pub(crate) async fn next(&mut self) -> Control {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            Control::End(Signal::INT)
        }
    }
}

#[cfg(not(unix))]
pub(crate) use other::Controls;
#[cfg(unix)]
pub(crate) use unix::Controls;

impl Controls {
    /// The next signal that asks for the end. Cancel-safe.
    pub(crate) async fn end(&mut self) -> Signal {
        loop {
            if let Control::End(signal) = self.next().await {
                return signal;
            }
        }
    }

    /// Does `work` unless a signal ends it: then `work` is dropped, and the signal is the error.
    pub(crate) async fn unless_ended<T>(
        &mut self,
        work: impl std::future::Future<Output = Result<T>>,
    ) -> Result<std::result::Result<T, Signal>> {
        tokio::select! {
            done = work => done.map(Ok),
            signal = self.end() => Ok(Err(signal)),
        }
    }
}
