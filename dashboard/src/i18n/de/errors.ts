export const errors = {
  bug: 'Auf dieser Seite ist etwas schiefgegangen. Laden Sie sie neu.',
  lastUpdate: 'Letzter Stand: {age}.',
  misunderstood: 'Fleetbeats Antwort war nicht zu verstehen. Laden Sie die Seite neu.',
  page: 'Die Seite ließ sich nicht laden. Wahrscheinlich ist Fleetbeat erneuert worden: laden Sie neu.',
  problem: 'Fleetbeat hat ein Problem: {reason}',
  request: '{reason} (Anfrage {id})',
  status: 'HTTP-Status {status}.',
  timeout: 'Fleetbeat hat nicht innerhalb von {seconds} s geantwortet.',
  unreachable: 'Fleetbeat ist nicht zu erreichen.',
}
