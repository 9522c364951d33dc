//! What is known of a flow ([`super::Flow::flags`]).

/// The client is the low end of the [`super::FlowKey`].
pub const CLIENT_IS_LOW: u64 = 1;
/// The server's socket is on this host: the server's hooks count the bytes.
pub const SERVER_IS_LOCAL: u64 = 1 << 1;
/// The client's view of a flow whose target address was translated on the way (DNAT). The server's view
/// counts; this one only knows where it is ([`super::Flow::other_end`]).
pub const SHADOW: u64 = 1 << 2;
/// The server's view of such a flow; [`super::Flow::other_end`] is the address that the client dialled.
pub const TRANSLATED: u64 = 1 << 3;
/// Both ends are known and [`super::Flow::row`] is valid.
pub const DECIDED: u64 = 1 << 4;
/// It has opened (TCP: the handshake is complete) and was counted as a flow.
pub const OPENED: u64 = 1 << 5;
/// The client sent FIN.
pub const CLIENT_FIN: u64 = 1 << 6;
/// The server sent FIN.
pub const SERVER_FIN: u64 = 1 << 7;
/// It was open before the hooks were: who is the client was guessed from the ports.
pub const ADOPTED: u64 = 1 << 8;
/// One end sent RST, which the other has not yet received.
pub const RESET_SENT: u64 = 1 << 9;
/// With [`RESET_SENT`]: it was the client.
pub const RESET_BY_CLIENT: u64 = 1 << 10;
/// The server's end sent the first packet that was seen: the ports let it pass for a late answer. A policy judges it
/// as who began.
pub const BEGUN_BY_SERVER: u64 = 1 << 11;
