//! What connections have in common, whichever version of HTTP they speak.
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bailiwick_core::request::Scheme;
use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::futures::Notified,
    time::{Sleep, sleep, timeout},
};

use super::{ServeOptions, Stop};

/// The bounds of one connection.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) header_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) scheme: Scheme,
}

impl Bounds {
    pub(super) fn new(options: &ServeOptions) -> Self {
        Self {
            header_timeout: options.header_timeout,
            write_timeout: options.write_timeout,
            scheme: if options.tls.is_some() { Scheme::Https } else { Scheme::Http },
        }
    }
}

/// How long the end of a connection may take, once all was said.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// How much a client may still send meanwhile.
const LINGER_BYTES: u64 = 8 << 20;

/// Ends our side, and reads on until the client has ended its own. If the connection were closed with
/// something unread, the client's system would throw away the answer that it has not read yet.
pub(super) async fn linger<I: AsyncRead + AsyncWrite + Unpin>(io: &mut I) {
    let ending = async {
        io.shutdown().await?;
        let mut rest = io.take(LINGER_BYTES);
        let mut scratch = [0; 1024];
        while rest.read(&mut scratch).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(LINGER, ending).await;
}

pin_project! {
    /// How far the end of the server has come, as a connection sees it.
    pub(super) struct Phases<'a> {
        stop: &'a Stop,
        #[pin]
        changed: Notified<'a>,
        registered: bool,
        seen: u8,
    }
}

impl<'a> Phases<'a> {
    pub(super) fn of(stop: &'a Stop) -> Self {
        // It takes note of every change from here on, even before it is first polled.
        Self { stop, changed: stop.changed.notified(), registered: false, seen: Stop::SERVING }
    }

    /// The phase now. The task is woken when it changes.
    pub(super) fn now(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> u8 {
        loop {
            let mut this = self.as_mut().project();
            let phase = this.stop.phase();
            // Once is enough, since the task stays the same: to poll it at each turn would cost a lock.
            if phase == *this.seen && *this.registered {
                return phase;
            }
            if phase == *this.seen && this.changed.as_mut().poll(cx).is_pending() {
                *this.registered = true;
                continue;
            }
            *this.seen = phase;
            this.changed.set(this.stop.changed.notified());
            *this.registered = false;
        }
    }
}

pin_project! {
    /// Watches for a client that asks for nothing.
    ///
    /// hyper's own timer is made anew for every request. This one looks four times in the time that is
    /// allowed, and costs a request nothing.
    pub(super) struct Watch {
        #[pin]
        tick: Sleep,
        step: Duration,
        armed: bool,
        // How many looks in a row found nothing new.
        quiet: u32,
        // How many requests there had been at the last look.
        requests: u32,
    }
}

impl Watch {
    const LOOKS: u32 = 4;

    pub(super) fn new(limit: Duration) -> Self {
        let step = limit / Self::LOOKS;
        Self { tick: sleep(step), step, armed: false, quiet: 0, requests: 0 }
    }

    /// Ready when nothing was asked for too long. `is_idle` says whether nothing is being answered,
    /// `requests` how many there have been.
    pub(super) fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        is_idle: bool,
        requests: u32,
    ) -> Poll<()> {
        loop {
            let mut this = self.as_mut().project();
            if *this.armed && !this.tick.is_elapsed() {
                return Poll::Pending;
            }
            if this.tick.as_mut().poll(cx).is_pending() {
                *this.armed = true;
                return Poll::Pending;
            }
            if is_idle && requests == *this.requests {
                *this.quiet += 1;
            } else {
                *this.quiet = 0;
                *this.requests = requests;
            }
            if *this.quiet >= Self::LOOKS {
                return Poll::Ready(());
            }
            this.tick.set(sleep(*this.step));
            *this.armed = false;
        }
    }
}
