//! api: what goes over the wire. HTTP and gRPC shapes on one side, the gateway's plain values on the other, and one
//! table that says how every reason to refuse looks. Decides nothing about models, adapters or jobs.

mod fault;
pub mod grpc;
pub mod http;
