//! A blocking rtnetlink socket: many requests in one system call, one answer each.
//!
//! The kernel carries a request out within `sendto`, so nothing here waits longer than the work takes.

use crate::errors::Refusal;
use pod_core::{Error, ErrorKind, IoResultExt, Result};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Mutex;
use std::time::Duration;

/// How many requests go into one `sendto`: their acknowledgements must fit the default receive buffer.
const BATCH: usize = 64;

/// A message of rtnetlink, going out and coming in.
pub(crate) trait Message: NetlinkSerializable + NetlinkDeserializable {}

impl<M: NetlinkSerializable + NetlinkDeserializable> Message for M {}

/// A request and how it is to be taken.
#[derive(Debug, Clone)]
pub(crate) struct Request<M = RouteNetlinkMessage> {
    message: M,
    flags: u16,
}

impl Request {
    /// Makes a thing; fails with `EEXIST` when it is there.
    pub(crate) fn create(message: RouteNetlinkMessage) -> Self {
        Self { message, flags: NLM_F_CREATE | NLM_F_EXCL }
    }

    /// Asks about, changes or removes what is there.
    pub(crate) fn plain(message: RouteNetlinkMessage) -> Self {
        Self { message, flags: 0 }
    }
}

/// What the kernel sent back for one request.
pub(crate) type Answer<M = RouteNetlinkMessage> = std::result::Result<Vec<M>, Refusal>;

/// A route netlink socket, bound to the namespace of the thread that opened it.
pub(crate) struct Netlink {
    socket: Socket,
    // one exchange at a time; holds the last sequence number
    exchange: Mutex<u32>,
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netlink").field("fd", &self.socket.as_raw_fd()).finish_non_exhaustive()
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            // filters of dumps act only with this; before Linux 4.20 the whole table comes
            if let Err(e) = socket.set_netlink_get_strict_chk(true)
                && e.raw_os_error() != Some(libc::ENOPROTOOPT)
            {
                return Err(e);
            }
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = open().doing(|| "open a netlink socket")?;
        // the kernel answers at once; this is only so that a defect can't hang a thread for ever
        rustix::net::sockopt::set_socket_timeout(
            socket.as_fd(),
            rustix::net::sockopt::Timeout::Recv,
            Some(Duration::from_secs(30)),
        )
        .map_err(|e| Error::io("set the netlink socket's timeout", e.into()))?;
        Ok(Self { socket, exchange: Mutex::new(0) })
    }

    /// Carries out `requests` in order, each whether or not those before it succeeded.
    pub(crate) fn batch(&self, requests: Vec<Request>) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let part: Vec<_> = requests.by_ref().take(BATCH).collect();
            answers.extend(self.exchange(part, NLM_F_ACK)?);
        }
        Ok(answers)
    }

    /// Carries out one request.
    pub(crate) fn request(&self, request: Request) -> Result<Answer> {
        self.batch(vec![request])?
            .pop()
            .ok_or_else(|| Error::unexpected("the kernel gave no answer to a netlink request"))
    }

    /// All things of a kind.
    pub(crate) fn dump<M: Message>(&self, message: M) -> Result<Vec<M>> {
        let answers = self.exchange(vec![Request { message, flags: 0 }], NLM_F_DUMP)?;
        answers
            .into_iter()
            .next()
            .ok_or_else(|| Error::unexpected("the kernel gave no answer to a netlink request"))?
            .map_err(|refusal| refusal.into_error("read the network's state"))
    }

    fn exchange<M: Message>(&self, requests: Vec<Request<M>>, flags: u16) -> Result<Vec<Answer<M>>> {
        let mut last = self.exchange.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let first = last.wrapping_add(1);
        let count = requests.len();
        let mut buffer = Vec::new();
        for request in requests {
            *last = last.wrapping_add(1);
            let mut header = NetlinkHeader::default();
            header.flags = NLM_F_REQUEST | flags | request.flags;
            header.sequence_number = *last;
            let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.message));
            message.finalize();
            let start = buffer.len();
            // messages follow each other on 4-byte boundaries (RFC 3549 section 2.3.2)
            buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut buffer[start..]);
        }
        self.socket.send(&buffer, 0).doing(|| "send a netlink request")?;

        let mut answers: Vec<Answer<M>> = (0..count).map(|_| Ok(Vec::new())).collect();
        let mut open = count;
        while open > 0 {
            let mut received = Vec::with_capacity(64 * 1024);
            let length = self.socket.recv(&mut received, libc::MSG_TRUNC).doing(|| "read a netlink answer")?;
            if length > received.len() {
                return Err(Error::unexpected("a netlink answer is longer than the kernel's own limit"));
            }
            let mut rest = &received[..];
            while rest.len() >= 16 {
                let message = NetlinkMessage::<M>::deserialize(rest)
                    .map_err(|e| Error::unexpected("the kernel's netlink answer can't be read").with_source(e))?;
                let step = (message.header.length as usize).next_multiple_of(4).clamp(16, rest.len());
                rest = &rest[step..];
                // an answer of an exchange that was broken off is passed over
                let Some(answer) = answers.get_mut(message.header.sequence_number.wrapping_sub(first) as usize) else {
                    continue;
                };
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => {
                        if let Ok(list) = answer {
                            list.push(inner);
                        }
                    }
                    NetlinkPayload::Done(_) => open -= 1,
                    NetlinkPayload::Error(e) => {
                        open -= 1;
                        if e.code.is_some() {
                            *answer = Err(Refusal::new(&e, message.header.flags));
                        }
                    }
                    NetlinkPayload::Overrun(_) => {
                        return Err(Error::new(ErrorKind::Exhausted, "netlink answers were lost"));
                    }
                    _ => {}
                }
            }
        }
        Ok(answers)
    }

    /// Brings a link up.
    pub(crate) fn set_up(&self, index: u32) -> Result<()> {
        self.request(Request::plain(RouteNetlinkMessage::SetLink(crate::link::up(index))))?
            .map(|_| ())
            .map_err(|r| r.into_error("bring the link up").with_context("link", index.to_string()))
    }
}
