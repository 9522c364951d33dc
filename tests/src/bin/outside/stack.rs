//! The stack on the cable.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
};

use anyhow::{Result, anyhow};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Checksum, Device, DeviceCapabilities, Medium, RawSocket, wait},
    socket::{tcp, udp},
    time::{Duration, Instant},
    wire::{EthernetAddress, IpAddress, IpCidr},
};

/// What else whoever is on another network has: it hears of the gateway by the gateway's network only.
const ON_THE_WAY: IpCidr = IpCidr::new(IpAddress::v4(198, 19, 7, 254), 24);
/// The node's end of the cable.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 19, 7, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xc0ff, 7, 0, 0, 0, 0, 1);

/// Bytes that a socket holds in each direction.
const BUFFER: usize = 65_535;

/// One address on the cable.
pub(crate) struct Stack {
    address: IpAddr,
    cable: Cable,
    interface: Interface,
    pub(crate) sockets: SocketSet<'static>,
}

impl Stack {
    pub(crate) fn new(address: IpAddr) -> Result<Self> {
        let mut cable = Cable(RawSocket::new("eth0", Medium::Ethernet)?);
        let ([a, b, c, d], prefix) = match address {
            IpAddr::V4(address) => (address.octets(), 24),
            IpAddr::V6(address) => {
                (address.to_bits().to_be_bytes().last_chunk().copied().unwrap_or_default(), 64)
            }
        };
        let now = Instant::now();
        let mut config = Config::new(EthernetAddress([2, 0, a, b, c, d]).into());
        config.random_seed = now.total_micros().cast_unsigned();
        let mut interface = Interface::new(config, &mut cable, now);
        let mut no_room = false;
        interface.update_ip_addrs(|all| {
            no_room = [IpCidr::new(address.into(), prefix), ON_THE_WAY]
                .map(|own| all.push(own))
                .iter()
                .any(Result::is_err);
        });
        let routed = interface.routes_mut().add_default_ipv4_route(GATEWAY).is_ok()
            && interface.routes_mut().add_default_ipv6_route(GATEWAY_V6).is_ok();
        if no_room || !routed {
            return Err(anyhow!("no room for an address and a route"));
        }
        Ok(Self { address, cable, interface, sockets: SocketSet::new(Vec::new()) })
    }

    /// Takes in and sends what there is; waits at most a moment for more.
    pub(crate) fn turn(&mut self) -> Result<()> {
        let now = Instant::now();
        let patience = Duration::from_millis(10);
        let delay = self.interface.poll_delay(now, &self.sockets).unwrap_or(patience).min(patience);
        wait(self.cable.0.as_raw_fd(), Some(delay))?;
        self.interface.poll(Instant::now(), &mut self.cable, &mut self.sockets);
        Ok(())
    }

    pub(crate) fn tcp(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    /// A socket for datagrams at a port.
    pub(crate) fn udp(&mut self, port: u16) -> Result<SocketHandle> {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 256], vec![0; BUFFER]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind((self.address, port))?;
        Ok(self.sockets.add(socket))
    }

    /// Begins a connection from a port.
    pub(crate) fn dial(&mut self, socket: SocketHandle, server: SocketAddr, port: u16) -> Result<()> {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(socket);
        Ok(socket.connect(self.interface.context(), server, (self.address, port))?)
    }
}

/// The raw socket. Packets that never left the machine have checksums that nobody has filled in.
struct Cable(RawSocket);

impl Device for Cable {
    type RxToken<'a> = <RawSocket as Device>::RxToken<'a>;
    type TxToken<'a> = <RawSocket as Device>::TxToken<'a>;

    fn receive(&mut self, now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.0.receive(now)
    }

    fn transmit(&mut self, now: Instant) -> Option<Self::TxToken<'_>> {
        self.0.transmit(now)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.udp = Checksum::Tx;
        capabilities
    }
}
