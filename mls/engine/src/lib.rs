//! What a client embeds: identity, rooms, messages, a storage trait. No sockets, no XML, no clock.
