//! Another domain's stream, both ways. Machines first ([`incoming`], [`outgoing`], [`peer`]), the
//! thin place that touches the runtime last ([`link`]).

pub mod link;
