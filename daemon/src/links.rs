//! Virtual Ethernet links of this host, and which network namespace is behind each. The only user of rtnetlink.

pub mod lay;

use anyhow::Context as _;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use rtnetlink::{
    Handle, MulticastGroup, new_multicast_connection,
    packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
        nsid::{NsidAttribute, NsidMessage},
    },
};
use tokio::task::JoinHandle;

/// The kernel's number for a network namespace that one of ours has a link to (`IFLA_LINK_NETNSID`).
pub type Namespace = i32;

/// The host's end of a virtual Ethernet link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Veth {
    /// The index of the interface.
    pub index: u32,
    /// Its name, which may change.
    pub name: String,
    /// Where the other end is; `None` where that is this namespace as well.
    pub namespace: Option<Namespace>,
    /// The index of the other end there; 0 where the kernel does not tell.
    pub peer: u32,
}

/// Asks the kernel about links, and hears of changes.
pub struct Links {
    handle: Handle,
    changes: BoxStream<'static, ()>,
    connection: JoinHandle<()>,
}

impl Links {
    /// Within tokio.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn open() -> anyhow::Result<Self> {
        let (connection, handle, changes) =
            new_multicast_connection(&[MulticastGroup::Link]).context("cannot ask the kernel about links")?;
        Ok(Self { handle, changes: changes.map(drop).boxed(), connection: tokio::spawn(connection) })
    }

    /// Waits until a link has changed, or may have. Of several changes that are there already it takes all.
    pub async fn changed(&mut self) {
        if self.changes.next().await.is_none() {
            // The connection is gone: nothing more will come.
            std::future::pending::<()>().await;
        }
        while self.changes.next().now_or_never().flatten().is_some() {}
    }

    /// All of them.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn veths(&mut self) -> anyhow::Result<Vec<Veth>> {
        let links = self.handle.link().get().execute();
        let veths = links.try_filter_map(|link| async move { Ok(veth(link)) }).try_collect().await;
        veths.context("cannot list the links")
    }

    /// The namespace that a process is in; `None` where we have no link to it, or the process is gone.
    pub async fn namespace_of(&mut self, pid: u32) -> Option<Namespace> {
        let mut question = NsidMessage::default();
        question.attributes.push(NsidAttribute::Pid(pid));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(question));
        request.header.flags = NLM_F_REQUEST;
        let answer = self.handle.request(request).ok()?.next().await?;
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) = answer.payload else {
            return None;
        };
        answer.attributes.iter().find_map(|attribute| match attribute {
            // -1 where it has none.
            NsidAttribute::Id(id) if *id >= 0 => Some(*id),
            _ => None,
        })
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn veth(link: LinkMessage) -> Option<Veth> {
    let (mut name, mut namespace, mut peer, mut is_veth) = (None, None, 0, false);
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::IfName(known) => name = Some(known),
            LinkAttribute::LinkNetNsId(id) => namespace = Some(id),
            LinkAttribute::Link(index) => peer = index,
            LinkAttribute::LinkInfo(infos) => is_veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth)),
            _ => {}
        }
    }
    Some(Veth { index: link.header.index, name: name.filter(|_| is_veth)?, namespace, peer })
}
