//! The server as a whole: puts the rooms together, starts them, stops them in order.
