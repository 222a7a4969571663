//! The sockets of a node: those of the operating system or, in a simulation (feature `sim`), those of the simulated
//! network.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::dialer::{BoxedStream, PeerSecurity};

/// Accepts connections.
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(feature = "sim")]
    Simulated(crate::sim::SimulatedListener),
}

/// An accepted connection on which nothing has been sent yet.
pub(super) enum Socket {
    Tcp(TcpStream),
    #[cfg(feature = "sim")]
    Simulated(crate::sim::SimulatedStream),
}

impl Listener {
    /// Uses a socket that listens already. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be registered with the runtime.
    pub(crate) fn new(listener: &std::net::TcpListener) -> io::Result<Listener> {
        let listener = listener.try_clone()?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Listener::Tcp)
    }

    pub(super) async fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, peer)| (Socket::Tcp(stream), peer)),
            #[cfg(feature = "sim")]
            Listener::Simulated(listener) => {
                listener.accept().await.map(|(stream, peer)| (Socket::Simulated(stream), peer))
            }
        }
    }
}

impl Socket {
    /// Configures the connection, and encrypts it if there is a `security`.
    pub(super) async fn accept(self, security: Option<&Arc<dyn PeerSecurity>>) -> io::Result<BoxedStream> {
        match self {
            Socket::Tcp(stream) => {
                configure(&stream)?;
                match security {
                    Some(security) => security.accept(stream).await,
                    None => Ok(Box::new(stream)),
                }
            }
            #[cfg(feature = "sim")]
            Socket::Simulated(stream) => Ok(Box::new(stream)),
        }
    }
}

/// Opens a connection to `address` (`host:port`), and encrypts it if there is a `security`.
pub(super) async fn connect(address: &str, security: Option<&Arc<dyn PeerSecurity>>) -> io::Result<BoxedStream> {
    #[cfg(feature = "sim")]
    if let Some(machine) = crate::sim::machine() {
        return Ok(Box::new(machine.connect(address).await?));
    }
    let stream = TcpStream::connect(address).await?;
    configure(&stream)?;
    match security {
        Some(security) => security.connect(address, stream).await,
        None => Ok(Box::new(stream)),
    }
}

/// The time after which the connection to a machine that no longer acknowledges data is closed.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(5);

/// Configures a connection: small messages are sent at once, and the connection breaks if the machine of the peer has
/// failed, even if that machine has not closed it.
fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    {
        rustix::net::sockopt::set_tcp_keepidle(stream, DEAD_AFTER)?;
        rustix::net::sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
        rustix::net::sockopt::set_tcp_user_timeout(stream, u32::try_from(DEAD_AFTER.as_millis()).unwrap_or(u32::MAX))?;
    }
    Ok(())
}
