export const access = {
  unknown: 'Your role is not known yet.',
  role: 'Your role is {role}: this needs the role {needed}.',
  scope: 'You see some hosts only, and this is about the whole fleet.',
}
