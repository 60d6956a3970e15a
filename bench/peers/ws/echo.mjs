// An echo server on the npm package ws. WebSocketServer has no compression unless asked.
import { WebSocketServer } from 'ws'

const [host, port] = process.argv[2].split(':')
new WebSocketServer({ host, port: Number(port) }).on('connection', (socket) => {
  socket.on('error', () => {})
  socket.on('message', (data, binary) => socket.send(data, { binary }))
})
