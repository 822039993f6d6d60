//! One request and its response: the way through a handler, and the end of a connection.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::asked::{Asked, Observer};
use super::failure::Failure;
use super::guard::connection::Connection;
use super::guard::queues::{Arrived, Task, Tasks};
use super::request::Request;
use super::response::{Extent, Response};

/// Answers a request; called from many threads at once.
type Handler = dyn Fn(&mut Request) -> Result<Reply, Failure> + Send + Sync;

/// What answers requests, and who is told of the answers.
#[derive(Clone)]
pub(crate) struct Service {
    handler: Arc<Handler>,
    observer: Observer,
}

impl Service {
    /// A service of `handler`; `observer` is told.
    pub(crate) fn new(
        handler: impl Fn(&mut Request) -> Result<Reply, Failure> + Send + Sync + 'static,
        observer: Observer,
    ) -> Service {
        Service {
            handler: Arc::new(handler),
            observer,
        }
    }

    /// Who is told of the answers.
    pub(super) fn observer(&self) -> &Observer {
        &self.observer
    }
}

/// What a handler returns.
pub(crate) enum Reply {
    /// A response now.
    Now(Response),
    /// Work that will answer later, from another thread.
    Later(Box<dyn FnOnce(Exchange) + Send>),
}

/// The right and the duty to answer one request. Dropped without an answer, the exchange
/// answers 500.
pub(crate) struct Exchange {
    /// `None` once the request is answered.
    connection: Option<Connection>,
    tasks: Arc<Tasks>,
    observer: Observer,
    asked: Asked,
    extent: Extent,
}

impl Exchange {
    fn new(
        connection: Connection,
        tasks: &Arc<Tasks>,
        observer: &Observer,
        request: Request,
    ) -> Exchange {
        Exchange {
            connection: Some(connection),
            tasks: tasks.clone(),
            observer: observer.clone(),
            extent: Extent::of(request.method()),
            asked: request.into_asked(),
        }
    }

    /// Sends the response. A peer that has gone is not an error of ours.
    pub(crate) fn answer(mut self, response: &Response) {
        self.send(response);
    }

    /// Sends what `result` says; a failure is logged if the server is its cause.
    pub(crate) fn finish(mut self, result: Result<Response, Failure>) {
        let response =
            result.unwrap_or_else(|failure| failure.into_response(&self.asked.id));
        self.send(&response);
    }

    /// Writes what the socket takes at once; the poll loop sees to the rest.
    fn send(&mut self, response: &Response) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };

        self.observer.tell(&self.asked, response, self.extent);
        let mut outgoing = response.encode(self.extent);
        match outgoing.write_to(&mut connection) {
            Ok(()) => {
                connection.end_writing();
                self.tasks.push(Task::Close(connection));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.tasks.push(Task::Send(connection, outgoing));
            }
            Err(_) => {}
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.connection.is_some() {
            let failure = Failure::internal("a handler ended without an answer");
            self.send(&failure.into_response(&self.asked.id));
        }
    }
}

/// Gives the request to the handler, and sees that it is answered or that the handler gets
/// the body for which it waits.
pub(super) fn serve(arrived: Arrived, tasks: &Arc<Tasks>, service: &Service) {
    let Arrived {
        connection,
        mut request,
    } = arrived;
    let reply = match request.take_broken() {
        Some(failure) => Err(failure),
        None => catch_unwind(AssertUnwindSafe(|| (service.handler)(&mut request)))
            .unwrap_or_else(|_| Err(Failure::internal("the handler panicked"))),
    };

    let awaited_body = reply.as_ref().err().and_then(Failure::awaited_body);
    if let Some(limit) = awaited_body {
        let arrived = Box::new(Arrived {
            connection,
            request,
        });
        return tasks.push(Task::ReadBody { arrived, limit });
    }

    let exchange = Exchange::new(connection, tasks, &service.observer, request);
    match reply {
        Ok(Reply::Now(response)) => exchange.answer(&response),
        Ok(Reply::Later(work)) => work(exchange),
        Err(failure) => exchange.finish(Err(failure)),
    }
}
