//! Connections to the daemon's socket that end after so much was read: whoever listens there could send without end,
//! and an answer is kept whole until it is understood.

use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error};
use hyper::{
    Response, Uri,
    body::Incoming,
    client::conn::http1::handshake,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, join},
    net::UnixStream,
};

/// Most bytes of one answer. Ten thousand containers are listed in about 20 MiB. A stream of events that comes to its
/// end here is asked for anew, after a new list.
const ANSWER_LIMIT: u64 = 32 << 20;

/// A client for `socket` whose answers have to begin within `late` seconds.
pub(super) fn connect(socket: &Path, late: u64) -> Result<Docker, Error> {
    let socket = socket.to_owned();
    let transport = move |request| ask(socket.clone(), request);
    Docker::connect_with_custom_transport(transport, Some("http://docker"), late, API_DEFAULT_VERSION)
}

/// One question, over a connection of its own.
async fn ask(socket: PathBuf, request: BollardRequest) -> Result<Response<Incoming>, Error> {
    let (reader, writer) = UnixStream::connect(socket).await?.into_split();
    let (mut sender, connection) = handshake(TokioIo::new(join(reader.take(ANSWER_LIMIT), writer))).await?;
    // Ends with the answer, or when that is not wanted any more. What goes wrong shows in the answer.
    tokio::spawn(connection);
    let (mut head, body) = request.into_parts();
    head.uri = head.uri.into_parts().path_and_query.map(Uri::from).unwrap_or_default();
    head.headers.insert(HOST, HeaderValue::from_static("docker"));
    Ok(sender.send_request(BollardRequest::from_parts(head, body)).await?)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
    };

    use super::*;

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off() {
        let path = std::env::temp_dir().join(format!("cofferdam-endless-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            connection.read_exact(&mut [0; 8]).unwrap();
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").unwrap();
            let mut sent = 0_u64;
            while connection.write_all(&[b' '; 1 << 16]).is_ok() {
                sent += 1 << 16;
            }
            sent
        });
        assert!(connect(&path, 60).unwrap().version().await.is_err());
        assert!(server.join().unwrap() < 2 * ANSWER_LIMIT);
        std::fs::remove_file(&path).unwrap();
    }
}
