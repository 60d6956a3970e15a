package rest

import (
	"net/http"

	"switchboard/internal/chat"
	"switchboard/internal/devices"
	"switchboard/internal/wire"
)

// putPush registers a device to be notified while its person is away.
func (s *Server) putPush(r *http.Request, who chat.UserID) (reply, error) {
	body, err := readBody(r, SmallBodyBytes, false)
	if err != nil {
		return reply{}, err
	}
	var asked wire.PutPush
	if err := decode(body, &asked); err != nil {
		return reply{}, err
	}
	registration := devices.Registration{
		User: who, Device: r.PathValue("device"), Kind: devices.Kind(asked.Kind), Address: asked.Token,
		Settings: devices.Settings{Provider: asked.Provider, MuteAll: asked.Mute.All, Muted: asked.Mute.ConversationIDs},
	}
	if registration.Kind == devices.WebPush {
		registration.Address, registration.Provider = asked.Endpoint, ""
		registration.P256DH, registration.Auth = asked.Keys.P256DH, asked.Keys.Auth
	}
	if err := registration.Check(); err != nil {
		return reply{}, badRequest("%v", err)
	}
	return reply{http.StatusNoContent, nil}, s.registry(func(d devices.Store) error { return d.Put(r.Context(), registration) })
}

// deletePush ends that.
func (s *Server) deletePush(r *http.Request, who chat.UserID) (reply, error) {
	found := false
	err := s.registry(func(d devices.Store) (err error) {
		found, err = d.Remove(r.Context(), who, r.PathValue("device"))
		return err
	})
	if err == nil && !found {
		err = chat.Errorf(chat.NotFound, "no such device is notified")
	}
	return reply{http.StatusNoContent, nil}, err
}

// listDevices says which devices are notified, and never how they are reached.
func (s *Server) listDevices(r *http.Request, who chat.UserID) (reply, error) {
	body := wire.DeviceList{Devices: []wire.Device{}, WebPushKey: s.PushKey}
	err := s.registry(func(d devices.Store) error {
		all, err := d.Of(r.Context(), []chat.UserID{who})
		for i := range all {
			body.Devices = append(body.Devices, wire.Device{
				DeviceID: all[i].Device, Kind: string(all[i].Kind), Provider: all[i].Provider, UpdatedAt: all[i].Updated.Unix(),
				Mute: wire.Mute{All: all[i].MuteAll, ConversationIDs: append([]chat.ConversationID{}, all[i].Muted...)},
			})
		}
		return err
	})
	return reply{http.StatusOK, body}, err
}

// registry does something with the tables of devices, which may be away.
func (s *Server) registry(do func(devices.Store) error) error {
	if s.Devices == nil {
		return without("this server notifies no devices")
	}
	if err := do(s.Devices); err != nil {
		s.Logger.Warn("the tables of devices do not answer", "error", err)
		return unavailable("nobody knows which devices are notified, at the moment")
	}
	return nil
}
