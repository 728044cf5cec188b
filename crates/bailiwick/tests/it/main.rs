//! What the framework promises, seen from outside. One binary, one file a topic.
mod derive;
mod http2;
mod serve;
