//! Asks the daemon over its unix socket.

use std::{
    future::Future,
    io::ErrorKind,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::HOST,
    http::request,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, runtime, time::timeout};

use super::{Failure, output::printable};
use crate::api::{Problem, SOCKET_NAME};

/// How long the daemon may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take for something that it has to compile policies for, or read its history for.
const LONG_DEADLINE: Duration = Duration::from_mins(2);

/// Longest line that is waited for. Those of events have bounded fields and are some ten kilobytes at most.
const LINE_LIMIT: usize = 1 << 20;

/// Where the daemon is asked.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(run_dir: &Path) -> Self {
        Self { socket: run_dir.join(SOCKET_NAME) }
    }

    /// The daemon's answer to one question.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.answer(Request::get(path), Bytes::new(), DEADLINE)
    }

    /// The daemon's answer to one question, for which it may have to read through its history.
    pub(super) fn get_slowly<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.answer(Request::get(path), Bytes::new(), LONG_DEADLINE)
    }

    /// Its answer to such a question as text.
    pub(super) fn text(&self, path: &str) -> Result<Bytes, Failure> {
        self.body(Request::get(path), Bytes::new(), LONG_DEADLINE)
    }

    /// The daemon's answer to something that it shall do, or compute.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(anyhow::Error::new)?;
        self.answer(Request::post(path), body.into(), LONG_DEADLINE)
    }

    fn answer<T: DeserializeOwned>(
        &self,
        head: request::Builder,
        body: Bytes,
        deadline: Duration,
    ) -> Result<T, Failure> {
        serde_json::from_slice(&self.body(head, body, deadline)?)
            .context("the daemon's answer is not understood; is it of another version?")
            .map_err(Failure::from)
    }

    fn body(&self, head: request::Builder, body: Bytes, deadline: Duration) -> Result<Bytes, Failure> {
        wait(async {
            let whole = async { Ok::<_, Failure>(self.ask(head, body).await?.into_body().collect().await) };
            let body = timeout(deadline, whole).await.map_err(|_| self.silent(deadline))??;
            Ok(body.map_err(|_| self.left())?.to_bytes())
        })?
    }

    /// Hands over an answer that does not end, some whole lines at a time, until `each` has enough.
    pub(super) fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        wait(async {
            let asked = timeout(DEADLINE, self.ask(Request::get(path), Bytes::new()));
            let response = asked.await.map_err(|_| self.silent(DEADLINE))??;
            let mut body = response.into_body();
            // The beginning of a line whose end has not come.
            let mut rest = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                let end = data.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
                let (whole, begun) = data.split_at(end);
                let flow = if whole.is_empty() {
                    ControlFlow::Continue(())
                } else if rest.is_empty() {
                    // Nearly always: nothing is copied.
                    each(whole)?
                } else {
                    rest.extend_from_slice(whole);
                    let flow = each(&rest)?;
                    rest.clear();
                    flow
                };
                if flow.is_break() {
                    return Ok(());
                }
                rest.extend_from_slice(begun);
                if rest.len() > LINE_LIMIT {
                    let socket = self.socket.display();
                    return Err(anyhow!(
                        "the daemon at {socket} sent a line of more than {LINE_LIMIT} bytes"
                    )
                    .into());
                }
            }
            Err(self.left())
        })?
    }

    async fn ask(&self, head: request::Builder, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::NoDaemon(self.socket.clone()),
            ErrorKind::PermissionDenied => Failure::NotPermitted(self.socket.clone()),
            _ => Failure::Failed(anyhow!(error).context(format!("cannot reach {}", self.socket.display()))),
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| self.left())?;
        // It ends with the response; what goes wrong in it shows there.
        tokio::spawn(connection);
        let request = head.header(HOST, "cofferdam").body(Full::new(body));
        let request = request.map_err(anyhow::Error::new)?;
        let response = sender.send_request(request).await.map_err(|_| self.left())?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(refused(status, response).await),
        }
    }

    fn left(&self) -> Failure {
        Failure::DaemonLeft(self.socket.clone())
    }

    fn silent(&self, deadline: Duration) -> Failure {
        let (socket, seconds) = (self.socket.display(), deadline.as_secs());
        Failure::Failed(anyhow!("the daemon at {socket} did not answer within {seconds} seconds"))
    }
}

async fn refused(status: StatusCode, response: Response<Incoming>) -> Failure {
    let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let said = serde_json::from_slice::<Problem>(&body).map(|problem| problem.error);
    let said = said.unwrap_or_else(|_| format!("the daemon answered {status}"));
    // It is made of names and texts that somebody chose.
    let said = printable(&said).into_owned();
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => Failure::Refused(said),
        StatusCode::FORBIDDEN => Failure::Forbidden(said),
        _ => Failure::Failed(anyhow!(said)),
    }
}

/// The path of a question, with what is asked.
pub(super) fn question(path: &str, query: &impl Serialize) -> Result<String, Failure> {
    let query = serde_urlencoded::to_string(query).map_err(anyhow::Error::new)?;
    Ok(format!("{path}?{query}"))
}

fn wait<T>(question: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("cannot start")?.block_on(question))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_is_not_there_is_one_clear_sentence_and_exit_code_4() {
        let failure = Client::new(Path::new("/nonexistent")).get::<()>("/v1/status").unwrap_err();
        assert_eq!(failure.code(), 4);
        assert_eq!(
            failure.sentence().expect("a sentence"),
            "no daemon answers at /nonexistent/cofferdam.sock: start it with `systemctl start cofferdam` or \
             `cofferdam run`, or see `cofferdam doctor`"
        );
    }
}
