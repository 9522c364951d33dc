//! Lays links of the daemon's own: from the host to a network namespace and from there to another, past all that the host
//! does with packets.
//!
//! What comes out of one link at the host's end goes into the other at once (tc's `mirred`), behind what judges there and
//! before anything else: no address of the host, no route, no bridge, no forwarding and no firewall has to do with it.

use std::{io::ErrorKind, net::IpAddr};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _};
use nix::errno::Errno;
use rtnetlink::{
    Error, Handle, LinkUnspec, LinkVeth, new_connection,
    packet_core::{
        ErrorMessage, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressAttribute, AddressFlags, AddressHeaderFlags},
        link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoVeth, LinkAttribute, LinkMessage},
        tc::{TcAttribute, TcHandle, TcMessage},
    },
};
use tokio::task::JoinHandle;

use super::veth;

/// Where the redirection stands among the filters of a link: behind what judges.
const PRIORITY: u16 = 0xc000;
/// As it stands in a header (include/uapi/linux/if_ether.h).
const ETH_P_ALL: u16 = 0x0003_u16.to_be();
/// The handle of the queueing discipline that filters belong to.
const CLSACT: u32 = 0xffff_0000;

/// An address of the hardware.
pub type Mac = [u8; 6];

/// One link that is to be laid.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the host's end is called.
    pub name: &'static str,
    /// What the other end is called.
    pub inner: &'static str,
    /// The hardware address of the other end.
    pub mac: Mac,
    /// A process in the namespace of the other end.
    pub pid: u32,
}

/// A conversation with the kernel, within tokio and in the namespace that this process is in.
struct Kernel {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Kernel {
    fn open() -> anyhow::Result<Self> {
        let (connection, handle, _) = new_connection().context("cannot ask the kernel about links")?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Lays two links, and has what comes out of each at the host's end go into the other. What is called so already, and is a
/// virtual Ethernet link, is removed before. Returns the indices of the host's ends.
///
/// # Errors
/// What the kernel refuses. What was laid until then is removed.
pub async fn two(links: [&Plan; 2]) -> anyhow::Result<[u32; 2]> {
    let kernel = Kernel::open()?;
    let laid = lay(&kernel.handle, links).await;
    if laid.is_err() {
        for link in links {
            let _ = remove(&kernel.handle, link.name).await;
        }
    }
    laid
}

/// Removes virtual Ethernet links that are called so, if there are any.
///
/// # Errors
/// What the kernel refuses.
pub async fn remove_all(names: [&str; 2]) -> anyhow::Result<()> {
    let kernel = Kernel::open()?;
    for name in names {
        remove(&kernel.handle, name).await?;
    }
    Ok(())
}

/// Gives an interface of this namespace its addresses, tells it who its neighbours are, and brings it up. Returns why it has
/// no addresses of IPv6, if it is to have some and has none.
///
/// # Errors
/// What the kernel refuses.
pub async fn settle(
    name: &str,
    addresses: &[(IpAddr, u8)],
    neighbours: &[(IpAddr, Mac)],
) -> anyhow::Result<Option<String>> {
    let kernel = Kernel::open()?;
    let handle = &kernel.handle;
    let link = find(handle, name).await?.with_context(|| format!("there is no link {name}"))?;
    let index = link.header.index;
    let mut no_ipv6 = None;
    for (address, length) in addresses {
        let mut request = handle.address().add(index, *address, *length);
        let message = request.message_mut();
        // The kernel shall not look whether somebody else has it.
        message.header.flags |= AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        match request.execute().await {
            Err(error) if address.is_ipv6() => no_ipv6 = Some(error.to_string()),
            added => added.with_context(|| format!("cannot add {address} to {name}"))?,
        }
    }
    up(handle, index).await?;
    for (address, mac) in neighbours {
        if address.is_ipv6() && no_ipv6.is_some() {
            continue;
        }
        let request = handle.neighbours().add(index, *address).link_layer_address(mac);
        request.execute().await.with_context(|| format!("cannot tell who has {address}"))?;
    }
    Ok(no_ipv6)
}

async fn lay(handle: &Handle, links: [&Plan; 2]) -> anyhow::Result<[u32; 2]> {
    let mut indices = [0; 2];
    for (index, link) in indices.iter_mut().zip(links) {
        *index = add(handle, link).await.with_context(|| format!("cannot lay the link {}", link.name))?;
    }
    let [one, two] = indices;
    for (from, to) in [(one, two), (two, one)] {
        redirect(handle, from, to).await.context("cannot lead one link into the other (tc mirred)")?;
    }
    for index in indices {
        up(handle, index).await?;
    }
    Ok(indices)
}

/// Lays a link whose ends are down.
async fn add(handle: &Handle, link: &Plan) -> anyhow::Result<u32> {
    remove(handle, link.name).await?;
    let inner =
        LinkUnspec::new_with_name(link.inner).address(link.mac.to_vec()).setns_by_pid(link.pid).build();
    let outer = LinkVeth::new(link.name, link.inner).set_info_data(InfoData::Veth(InfoVeth::Peer(inner)));
    handle.link().add(outer.build()).execute().await?;
    let index = index(handle, link.name).await?.context("it is gone")?;
    // The host's end has no address, not even one of the link: nobody talks to it. Where the host has no IPv6 it has none.
    let mut silent = LinkMessage::default();
    silent.header.index = index;
    let no_address = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    silent.attributes.push(LinkAttribute::AfSpecUnspec(vec![no_address]));
    if let Err(error) = handle.link().set(silent).execute().await {
        tracing::debug!(link = link.name, %error, "an address of IPv6 is not turned off");
    }
    Ok(index)
}

async fn up(handle: &Handle, index: u32) -> anyhow::Result<()> {
    handle
        .link()
        .set(LinkUnspec::new_with_index(index).up().build())
        .execute()
        .await
        .context("cannot bring it up")
}

/// Has all that comes in at a link go out at another, unless something that is attached before says otherwise.
async fn redirect(handle: &Handle, from: u32, to: u32) -> anyhow::Result<()> {
    let from = i32::try_from(from)?;
    let mut clsact = TcMessage::with_index(from);
    clsact.header.parent = TcHandle::CLSACT;
    clsact.header.handle = TcHandle::from(CLSACT);
    clsact.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(clsact));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE;
    let mut answers = handle.clone().request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
            // Whoever judges there may have made it.
            && error.to_io().kind() != ErrorKind::AlreadyExists
        {
            return Err(Error::NetlinkError(error).into());
        }
    }
    let mut filters = handle.traffic_filter(from);
    let filter = filters.add().ingress().priority(PRIORITY).protocol(ETH_P_ALL);
    Ok(filter.redirect(to)?.execute().await?)
}

/// Removes a virtual Ethernet link, if there is one of that name.
async fn remove(handle: &Handle, name: &str) -> anyhow::Result<()> {
    let Some(index) = index(handle, name).await? else { return Ok(()) };
    match handle.link().del(index).execute().await {
        // Its other end may just have gone with its namespace.
        Err(Error::NetlinkError(error)) if is_no_device(&error) => Ok(()),
        removed => removed.with_context(|| format!("cannot remove the link {name}")),
    }
}

/// The index of the virtual Ethernet link of that name.
async fn index(handle: &Handle, name: &str) -> anyhow::Result<Option<u32>> {
    Ok(find(handle, name).await?.and_then(veth).map(|veth| veth.index))
}

/// The link of that name, of whatever kind.
async fn find(handle: &Handle, name: &str) -> anyhow::Result<Option<LinkMessage>> {
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    match found.try_next().await {
        Ok(link) => Ok(link),
        Err(Error::NetlinkError(error)) if is_no_device(&error) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look for the link {name}")),
    }
}

fn is_no_device(error: &ErrorMessage) -> bool {
    error.to_io().raw_os_error() == Some(Errno::ENODEV as i32)
}
