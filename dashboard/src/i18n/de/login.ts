export const login = {
  busy: 'Anmeldung läuft …',
  code: 'Code des zweiten Faktors oder ein Wiederherstellungscode',
  ended: 'Ihre Sitzung ist beendet. Melden Sie sich wieder an.',
  limited: 'Zu viele Versuche. Versuchen Sie es in {seconds} s wieder.',
  limitedMinute: 'Zu viele Versuche. Versuchen Sie es in einer Minute wieder.',
  password: 'Passwort',
  submit: 'Anmelden',
  username: 'Benutzername',
  wrong: 'Benutzername oder Passwort ist falsch.',
  wrongCode: 'Benutzername, Passwort oder Code ist falsch, oder der Code wurde schon benutzt.',
}
